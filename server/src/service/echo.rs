//! EchoService: what comes, upper-cased, to try a connection with.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use remex::v1::{
    EchoRequest, EchoResponse, EchoStreamRequest, EchoStreamResponse, echo_request, echo_response,
    echo_service_server::EchoService, echo_stream_request, echo_stream_response,
};
use tonic::{Request, Response, Status, Streaming};

use super::{
    exec::{caller, record},
    status,
};
use crate::{
    grpc::codec,
    policy::{Rpc, gate::PolicyGate},
};

/// Sends back what it is sent.
#[derive(Debug, Clone)]
pub struct EchoHandler {
    gate: PolicyGate,
}

impl EchoHandler {
    /// For those that `gate` lets pass.
    pub fn new(gate: PolicyGate) -> Self {
        Self { gate }
    }

    async fn pass<T>(&self, request: &Request<T>, rpc: Rpc) -> Result<(), Status> {
        let record = record(request);
        let standing = self.gate.call(&caller(request)?, rpc, &record).await;
        standing.map_err(|why| status::not_permitted(&why))?;
        Ok(())
    }
}

/// ASCII letters upper-cased, every other byte as it is.
fn upper(data: &[u8]) -> Bytes {
    data.to_ascii_uppercase().into()
}

#[tonic::async_trait]
impl EchoService for EchoHandler {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        use {echo_request::Content as In, echo_response::Content as Out};
        self.pass(&request, Rpc::Echo).await?;
        let content = request.into_inner().content.map(|content| match content {
            In::Text(text) => Out::Text(text.to_ascii_uppercase()),
            In::Data(data) => Out::Data(upper(&data)),
        });
        Ok(Response::new(EchoResponse { content }))
    }

    type EchoStreamStream = Pin<Box<dyn Stream<Item = Result<EchoStreamResponse, Status>> + Send>>;

    async fn echo_stream(
        &self,
        request: Request<Streaming<EchoStreamRequest>>,
    ) -> Result<Response<Self::EchoStreamStream>, Status> {
        use {echo_stream_request::Content as In, echo_stream_response::Content as Out};
        self.pass(&request, Rpc::EchoStream).await?;
        let responses = request.into_inner().map(|request| {
            let content = request
                .map_err(codec::error)?
                .content
                .map(|content| match content {
                    In::Text(text) => Out::Text(text.to_ascii_uppercase()),
                    In::Data(data) => Out::Data(upper(&data)),
                });
            Ok(EchoStreamResponse { content })
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

#[cfg(test)]
mod tests {
    use super::upper;

    proptest::proptest! {
        /// Over UDP anybody may have it sent to anybody.
        #[test]
        fn promise_8_upper_case_is_as_long_as_what_came(data: Vec<u8>) {
            let answer = upper(&data);
            proptest::prop_assert_eq!(answer.len(), data.len());
            let as_python = data.iter().map(u8::to_ascii_uppercase);
            proptest::prop_assert!(answer.iter().copied().eq(as_python));
        }
    }
}

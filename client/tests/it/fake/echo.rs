//! EchoService.

use remex::{
    VERSION, VERSION_HEADER,
    v1::{
        EchoRequest, EchoResponse, EchoStreamRequest, EchoStreamResponse, echo_request,
        echo_response, echo_service_server::EchoService,
    },
};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};

pub(super) struct Echo;

#[tonic::async_trait]
impl EchoService for Echo {
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let content = request.into_inner().content.map(|content| match content {
            echo_request::Content::Text(text) => {
                echo_response::Content::Text(text.to_ascii_uppercase())
            }
            echo_request::Content::Data(data) => {
                echo_response::Content::Data(data.to_ascii_uppercase().into())
            }
        });
        let mut response = Response::new(EchoResponse { content });
        let version = MetadataValue::from_static(VERSION);
        response.metadata_mut().insert(VERSION_HEADER, version);
        Ok(response)
    }

    type EchoStreamStream = tokio_stream::Empty<Result<EchoStreamResponse, Status>>;

    async fn echo_stream(
        &self,
        _: Request<Streaming<EchoStreamRequest>>,
    ) -> Result<Response<Self::EchoStreamStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

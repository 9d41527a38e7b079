//! ExecService as it is served: generated, but for when the headers of Run's response leave.
//!
//! gRPC libraries and proxies that were told to retry do so until they have seen a response's headers. The generated server
//! sends those with the answer, so that a connection lost under a command would have it run twice; here they leave when
//! the command has been started.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, future::BoxFuture};
use http::{Request, Response};
use remex::v1::{self, exec_service_server::ExecServiceServer};
use tonic::{
    Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::exec::Exec;
use crate::{budget::Share, grpc::routes::compressed};

const RUN: &str = "/remex.v1.ExecService/Run";

/// ExecService over HTTP/2.
#[derive(Debug, Clone)]
pub struct ExecServer {
    exec: Exec,
    generated: ExecServiceServer<Exec>,
}

impl ExecServer {
    /// Serves `exec`.
    pub fn new(exec: Exec) -> Self {
        let generated = compressed!(ExecServiceServer::new(exec.clone()));
        Self { exec, generated }
    }
}

impl NamedService for ExecServer {
    const NAME: &'static str = ExecServiceServer::<Exec>::NAME;
}

impl Service<Request<Body>> for ExecServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != RUN {
            return self.generated.call(request);
        }
        let run = Run(self.exec.clone());
        let mut grpc = compressed!(Grpc::new(ProstCodec::default()));
        Box::pin(async move { Ok(grpc.server_streaming(run, request).await) })
    }
}

/// Run as a stream of its one answer, which on the wire is the same.
struct Run(Exec);

impl ServerStreamingService<v1::RunRequest> for Run {
    type Response = v1::RunResponse;
    type ResponseStream = OneAnswer;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<v1::RunRequest>) -> Self::Future {
        let exec = self.0.clone();
        Box::pin(async move {
            let answer = exec.start_run(request).await?;
            Ok(tonic::Response::new(OneAnswer {
                answer: Some(Box::pin(answer)),
                share: None,
            }))
        })
    }
}

/// A stream of one message. Its memory is given back when the next is asked for, which is when this one has left.
struct OneAnswer {
    answer: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    share: Option<Share>,
}

type Answer = Result<(v1::RunResponse, Share), Status>;

impl Stream for OneAnswer {
    type Item = Result<v1::RunResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(answer) = &mut self.answer else {
            self.share = None;
            return Poll::Ready(None);
        };
        let answered = ready!(answer.as_mut().poll(context));
        self.answer = None;
        Poll::Ready(Some(answered.map(|(response, share)| {
            self.share = Some(share);
            response
        })))
    }
}

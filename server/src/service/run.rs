//! ExecService as it is served: generated, but for when the headers of Run's response leave.
//!
//! gRPC libraries and proxies that were told to retry do so until they have seen a response's headers. The generated server
//! sends those with the answer, so that a connection lost under a command would have it run twice; here they leave when
//! the command has been started.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use http::{Request, Response};
use http_body::Frame;
use remex::v1::{self, exec_service_server::ExecServiceServer};
use tokio::sync::oneshot;
use tonic::{
    Status,
    body::Body,
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::exec::Exec;
use crate::grpc::routes::compressed;

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
        let (frames, answer) = oneshot::channel();
        let run = Run {
            exec: self.exec.clone(),
            frames: Some(frames),
        };
        let mut grpc = compressed!(Grpc::new(ProstCodec::default()));
        Box::pin(async move {
            let response = grpc.server_streaming(run, request).await;
            Ok(response.map(|status| Body::new(AnswerBody::new(status, answer))))
        })
    }
}

/// Run as a stream of its one answer, which on the wire is the same.
struct Run {
    exec: Exec,
    frames: Option<oneshot::Sender<VecDeque<Bytes>>>,
}

impl ServerStreamingService<v1::RunRequest> for Run {
    type Response = v1::RunResponse;
    type ResponseStream = OneAnswer;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<v1::RunRequest>) -> Self::Future {
        let (exec, frames) = (self.exec.clone(), self.frames.take());
        Box::pin(async move {
            let answer = exec.start_run(request).await?;
            Ok(tonic::Response::new(OneAnswer {
                answer: Some(Box::pin(answer)),
                frames,
            }))
        })
    }
}

/// The answer, as a stream that tonic would copy whole into a buffer of its own: so it ends without a message, or with an
/// error, and the frames go another way.
struct OneAnswer {
    answer: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    frames: Option<oneshot::Sender<VecDeque<Bytes>>>,
}

type Answer = Result<VecDeque<Bytes>, Status>;

impl Stream for OneAnswer {
    type Item = Result<v1::RunResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        let answered = ready!(answer.as_mut().poll(context));
        self.answer = None;
        Poll::Ready(match answered {
            Ok(frames) => {
                if let Some(to) = self.frames.take() {
                    // Refused only when the caller has gone.
                    let _ = to.send(frames);
                }
                None
            }
            Err(status) => Some(Err(status)),
        })
    }
}

/// The body of Run's response: the answer's frames, then the status that tonic makes.
struct AnswerBody {
    status: Body,
    answer: oneshot::Receiver<VecDeque<Bytes>>,
    frames: VecDeque<Bytes>,
    /// What comes behind them.
    trailers: Option<Frame<Bytes>>,
}

impl AnswerBody {
    fn new(status: Body, answer: oneshot::Receiver<VecDeque<Bytes>>) -> Self {
        Self {
            status,
            answer,
            frames: VecDeque::new(),
            trailers: None,
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.frames.is_empty() && this.trailers.is_none() {
            match ready!(Pin::new(&mut this.status).poll_frame(context)) {
                Some(Ok(frame)) if frame.is_trailers() => this.trailers = Some(frame),
                other => return Poll::Ready(other),
            }
            // After an error there is none.
            this.frames = this.answer.try_recv().unwrap_or_default();
        }
        let frame = this.frames.pop_front().map(Frame::data);
        Poll::Ready(frame.or_else(|| this.trailers.take()).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.trailers.is_none() && self.status.is_end_stream()
    }
}

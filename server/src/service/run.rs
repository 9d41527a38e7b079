//! How Run's answer leaves: the response's headers when the command has been started, so that nobody who sends a call again
//! until it has seen them has the command run twice; then the answer's frames as they are.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Stream, TryFutureExt, future::MapOk};
use http::{Request, Response};
use http_body::Frame;
use remex::v1::{RunResponse, exec_service_server::ExecServiceServer};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::exec::ExecHandler;

type Generated = ExecServiceServer<ExecHandler>;
type Answer = Result<VecDeque<Bytes>, Status>;

/// ExecService over HTTP/2, as it is generated, but for the body of Run's response.
#[derive(Debug, Clone)]
pub struct ExecServer(Generated);

impl ExecServer {
    /// Serves `generated`.
    pub fn new(generated: Generated) -> Self {
        Self(generated)
    }
}

impl NamedService for ExecServer {
    const NAME: &'static str = Generated::NAME;
}

impl Service<Request<Body>> for ExecServer {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future =
        MapOk<<Generated as Service<Request<Body>>>::Future, fn(Response<Body>) -> Response<Body>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request).map_ok(with_answer)
    }
}

/// `response`, with the frames of the answer that it may come with.
fn with_answer(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<AnswerFrames>() {
        Some(answer) => response.map(|status| Body::new(AnswerBody::new(status, answer))),
        None => response,
    }
}

/// Where the frames of an answer are from its end until they are sent. Clones share it.
#[derive(Debug, Clone, Default)]
struct AnswerFrames(Arc<Mutex<VecDeque<Bytes>>>);

impl AnswerFrames {
    fn put(&self, frames: VecDeque<Bytes>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = frames;
    }

    fn take(&self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The answer, as a stream that tonic would copy whole into a buffer of its own: so it ends without a message, or with an
/// error, and the frames go another way.
pub struct OneAnswer {
    answer: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    frames: AnswerFrames,
}

impl OneAnswer {
    /// The response with what `answer` comes to.
    pub(super) fn response(
        answer: impl Future<Output = Answer> + Send + 'static,
    ) -> tonic::Response<Self> {
        let frames = AnswerFrames::default();
        let mut response = tonic::Response::new(Self {
            answer: Some(Box::pin(answer)),
            frames: frames.clone(),
        });
        response.extensions_mut().insert(frames);
        response
    }
}

impl fmt::Debug for OneAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneAnswer").finish_non_exhaustive()
    }
}

impl Stream for OneAnswer {
    type Item = Result<RunResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        let answered = ready!(answer.as_mut().poll(context));
        self.answer = None;
        Poll::Ready(match answered {
            Ok(frames) => {
                self.frames.put(frames);
                None
            }
            Err(status) => Some(Err(status)),
        })
    }
}

/// The body of Run's response: the answer's frames, then the status that tonic makes.
struct AnswerBody {
    status: Body,
    answer: AnswerFrames,
    frames: VecDeque<Bytes>,
    /// What comes behind them.
    trailers: Option<Frame<Bytes>>,
}

impl AnswerBody {
    fn new(status: Body, answer: AnswerFrames) -> Self {
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
            this.frames = this.answer.take();
        }
        let frame = this.frames.pop_front().map(Frame::data);
        Poll::Ready(frame.or_else(|| this.trailers.take()).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.trailers.is_none() && self.status.is_end_stream()
    }
}

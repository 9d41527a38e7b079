//! A call's deadline (`grpc-timeout`): when it passes, the caller has gone. It bounds the call, never the command as such.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::{Status, body::Body};

/// What a call ends with whose deadline has passed.
fn exceeded() -> Status {
    Status::deadline_exceeded("the call's deadline has passed, so its caller is taken for gone")
}

/// What `call` answers, unless `deadline` passes before. One that has passed already has nothing done.
pub(super) async fn within(
    deadline: Instant,
    tasks: &TaskTracker,
    call: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    if deadline <= Instant::now() {
        return Ok(exceeded().into_http());
    }
    let response = tokio::select! {
        biased;
        () = sleep_until(deadline) => return Ok(exceeded().into_http()),
        response = call => response?,
    };
    if http_body::Body::is_end_stream(response.body()) {
        return Ok(response);
    }
    Ok(response.map(|body| Body::new(Bounded::new(body, deadline, tasks))))
}

/// A response's body up to a deadline. It is dropped then, which is how the service learns that nobody is there, even if
/// its peer has no room for more and so nobody asks for a frame.
struct Bounded {
    body: Arc<Mutex<Option<Body>>>,
    sleep: Pin<Box<Sleep>>,
    ended: bool,
    _watched: DropGuard,
}

impl Bounded {
    fn new(body: Body, deadline: Instant, tasks: &TaskTracker) -> Self {
        let body = Arc::new(Mutex::new(Some(body)));
        let watched = CancellationToken::new();
        tasks.spawn(drop_at(deadline, Arc::downgrade(&body), watched.clone()));
        Self {
            body,
            sleep: Box::pin(sleep_until(deadline)),
            ended: false,
            _watched: watched.drop_guard(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Body>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops `body` at the deadline, unless it was `watched` to its end before.
async fn drop_at(deadline: Instant, body: Weak<Mutex<Option<Body>>>, watched: CancellationToken) {
    tokio::select! {
        () = watched.cancelled() => {}
        () = sleep_until(deadline) => {
            if let Some(body) = body.upgrade() {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
                drop(body);
            }
        }
    }
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let passed = self.sleep.as_mut().poll(context).is_ready();
        let polled = self
            .lock()
            .as_mut()
            .filter(|_| !passed)
            .map(|body| Pin::new(body).poll_frame(context));
        if let Some(polled) = polled {
            return polled;
        }
        self.ended = true;
        self.lock().take();
        let mut trailers = HeaderMap::new();
        exceeded().add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
            || self
                .lock()
                .as_ref()
                .is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

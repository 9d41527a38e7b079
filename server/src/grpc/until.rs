//! A call that ends with a status of its own when something is over, whatever its service does: it is dropped then, as if its
//! caller had gone.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tonic::{Status, body::Body};

/// What `call` answers, unless `over` comes before: that is what the call ends with then. It is asked for more than once,
/// and says the same each time.
pub(super) async fn until<F>(
    over: impl Fn() -> F,
    tasks: &TaskTracker,
    call: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible>
where
    F: Future<Output = Status> + Send + 'static,
{
    let response = tokio::select! {
        biased;
        status = over() => return Ok(status.into_http()),
        response = call => response?,
    };
    if http_body::Body::is_end_stream(response.body()) {
        return Ok(response);
    }
    Ok(response.map(|body| Body::new(Bounded::new(body, over, tasks))))
}

/// A response's body until then. It is dropped then, which is how the service learns that nobody is there, even if its peer
/// has no room for more and so nobody asks for a frame.
struct Bounded {
    body: Arc<Mutex<Option<Body>>>,
    over: Pin<Box<dyn Future<Output = Status> + Send>>,
    ended: bool,
    _watched: DropGuard,
}

impl Bounded {
    fn new<F>(body: Body, over: impl Fn() -> F, tasks: &TaskTracker) -> Self
    where
        F: Future<Output = Status> + Send + 'static,
    {
        let body = Arc::new(Mutex::new(Some(body)));
        let watched = CancellationToken::new();
        tasks.spawn(drop_after(over(), Arc::downgrade(&body), watched.clone()));
        Self {
            body,
            over: Box::pin(over()),
            ended: false,
            _watched: watched.drop_guard(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Body>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops `body` when it is over, unless it was `watched` to its end before.
async fn drop_after(
    over: impl Future<Output = Status>,
    body: Weak<Mutex<Option<Body>>>,
    watched: CancellationToken,
) {
    tokio::select! {
        () = watched.cancelled() => {}
        _ = over => {
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
        let over = match self.over.as_mut().poll(context) {
            Poll::Ready(status) => Some(status),
            Poll::Pending => {
                let polled = self
                    .lock()
                    .as_mut()
                    .map(|body| Pin::new(body).poll_frame(context));
                match polled {
                    Some(polled) => return polled,
                    // The other clock was first; this one wakes whoever asks.
                    None => None,
                }
            }
        };
        let Some(status) = over else {
            return Poll::Pending;
        };
        self.ended = true;
        self.lock().take();
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
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

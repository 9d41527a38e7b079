//! One call over a channel: it ends by its caller's deadline, it is cancelled with its response, and when it fails it is
//! known whether the server can have seen it. A call is never sent twice: neither tonic's channel nor hyper's connection
//! retries, and nothing here does.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep, sleep_until},
};
use tonic::{Status, body::Body, transport::Channel};
use tower::Service;

use super::{
    connector::Connector,
    deadline,
    error::{Unsent, lost},
    pool::Slot,
};

/// A call whose request HTTP/2 has not asked for within this time, on a connection that is there, is given up: the peer
/// takes no further stream, or nothing at all.
pub(super) const HANDOVER_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes a call on `channel`.
pub(super) async fn call(
    mut channel: Channel,
    connector: &Connector,
    slot: Slot,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let deadline = deadline::timeout(request.headers())
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let handover = Arc::new(Handover::default());
    // Whatever ends this call before its request was asked for, nobody gets it any more.
    let withdrawal = Withdrawal(Arc::clone(&handover));
    let (interest, interested) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(RequestBody {
            body,
            handover,
            interested: Some(interested),
        })
    });
    let sent = async {
        poll_fn(|cx| channel.poll_ready(cx)).await?;
        channel.call(request).await
    };
    let answered = tokio::select! {
        biased;
        // Before tonic's own clock, which calls it a cancellation.
        () = passed(deadline) => return Err(withdrawal.or_else(Unsent::Deadline, deadline_exceeded)),
        answered = sent => answered,
        () = withdrawal.untaken(connector) => return Err(Unsent::NoRoom.into()),
    };
    match answered {
        Ok(response) => Ok(response.map(|body| {
            Body::new(ResponseBody {
                body,
                deadline: deadline.map(|deadline| Box::pin(sleep_until(deadline))),
                call: Some((slot, interest)),
            })
        })),
        Err(error) => match lost(&error) {
            status if super::never_ran(&status) => Err(status),
            status => Err(withdrawal.or_else(Unsent::Lost, || status)),
        },
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the caller's deadline passed")
}

/// Whether a request's body was asked for. Its message is in there: until then the service has seen nothing of the call,
/// whatever has become of its headers.
#[derive(Debug, Default)]
struct Handover(AtomicU8);

impl Handover {
    const WAITING: u8 = 0;
    const TAKEN: u8 = 1;
    const WITHDRAWN: u8 = 2;

    /// Takes the request; false if it was withdrawn.
    fn take(&self) -> bool {
        self.leave_waiting(Self::TAKEN) != Self::WITHDRAWN
    }

    /// Withdraws the request; false if it was taken.
    fn withdraw(&self) -> bool {
        self.leave_waiting(Self::WITHDRAWN) != Self::TAKEN
    }

    /// What it was before, or what it is if it was settled already.
    fn leave_waiting(&self, to: u8) -> u8 {
        let swapped =
            self.0
                .compare_exchange(Self::WAITING, to, Ordering::AcqRel, Ordering::Acquire);
        swapped.unwrap_or_else(|settled| settled)
    }
}

/// Withdraws a request that nobody has asked for, at the latest when it is dropped.
struct Withdrawal(Arc<Handover>);

impl Withdrawal {
    /// `unsent` if it can be withdrawn now, else `sent`.
    fn or_else(&self, unsent: Unsent, sent: impl FnOnce() -> Status) -> Status {
        if self.0.withdraw() {
            unsent.into()
        } else {
            sent()
        }
    }

    /// Returns when it was withdrawn since it waited for [`HANDOVER_TIMEOUT`], not counting the opening of a connection,
    /// which has a bound of its own.
    async fn untaken(&self, connector: &Connector) {
        loop {
            sleep(HANDOVER_TIMEOUT).await;
            if connector.is_dialling() {
                continue;
            }
            if self.0.withdraw() {
                return;
            }
            return std::future::pending().await;
        }
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        self.0.withdraw();
    }
}

/// A request's body. It ends with its caller's interest in the response.
struct RequestBody {
    body: Body,
    handover: Arc<Handover>,
    /// `None` once that has ended.
    interested: Option<oneshot::Receiver<Infallible>>,
}

impl RequestBody {
    fn poll_cancelled(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.interested {
            Some(interested) => Pin::new(interested).poll(cx).is_ready(),
            None => true,
        }
    }
}

/// What resets a stream with CANCEL.
fn cancelled() -> Status {
    let mut status = Status::cancelled("the caller has gone");
    status.set_source(Arc::new(h2::Error::from(h2::Reason::CANCEL)));
    status
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.handover.take() || self.poll_cancelled(cx) {
            self.interested = None;
            return Poll::Ready(Some(Err(cancelled())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body, until the caller's deadline. Its end frees the call's place.
struct ResponseBody {
    body: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    call: Option<(Slot, oneshot::Sender<Infallible>)>,
}

impl ResponseBody {
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> bool {
        let passed = |deadline: &mut Pin<Box<Sleep>>| deadline.as_mut().poll(cx).is_ready();
        self.deadline.as_mut().is_some_and(passed)
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.call.is_none() {
            return Poll::Ready(None);
        }
        if self.poll_deadline(cx) {
            // What is left of it is of no interest, which resets the stream.
            self.body = Body::empty();
            self.call = None;
            return Poll::Ready(Some(Err(deadline_exceeded())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            self.call = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| lost(&error))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The memory that requests take which have not arrived whole: bounded for a connection, for a peer and in all, and each
//! for a time. A request that finds no room waits with its next bytes unread, so that HTTP/2 holds its sender up.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use remex::error::Reason;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, sleep_until},
};
use tonic::Status;

use super::{
    connection::WIDE_FRAME_BYTES,
    message::{Arrived, Messages},
    peers::Place,
    routes::MAX_REQUEST_BYTES,
};

/// Unfinished messages of one connection, in bytes, that need none of the room that others may hold: its small calls go on
/// whoever has taken all of that.
pub const OWN_BYTES: usize = 32 * 1024;

/// Unfinished messages of one connection beyond those, in bytes.
pub const CONNECTION_BYTES: usize = 16 * 1024 * 1024;

/// Those of one peer.
pub const PEER_BYTES: usize = 64 * 1024 * 1024;

/// All of them.
pub const ALL_BYTES: usize = 256 * 1024 * 1024;

/// Requests that wait for such room, each with some bytes in hand; further ones are refused.
pub const WAITING_REQUESTS: usize = 4096;

/// A request that has less in hand takes another frame, and leaves the rest unread. A frame that HTTP/2 keeps unread takes
/// hundreds of bytes, however small it is; in hand they are one piece.
pub const IN_HAND_BYTES: usize = 4 * 1024;

/// What all of them have in hand behind their first frames.
pub const ALL_IN_HAND_BYTES: usize = 16 * 1024 * 1024;

/// How long a message may be on its way, not counting the time in which nobody reads it; and how long the first one may be
/// waited for.
pub const MESSAGE_TIME: Duration = Duration::from_mins(1);

/// So many bytes of it have a second more.
pub const SLOWEST_BYTES_A_SECOND: usize = 16 * 1024;

/// A clock that is looked at this long after its time has run while nobody read.
const NOBODY_READ: Duration = Duration::from_secs(1);

/// When to ask again who was refused.
const RETRY: Duration = Duration::from_secs(1);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Held = Vec<OwnedSemaphorePermit>;

/// What is left, from a connection's own share to all. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    own: Arc<Semaphore>,
    levels: [Arc<Semaphore>; 3],
    waiting: Arc<Semaphore>,
    in_hand: Arc<Semaphore>,
}

/// The part of the budget that all connections share.
#[derive(Debug, Clone)]
pub(super) struct SharedBudget {
    bytes: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    in_hand: Arc<Semaphore>,
}

impl Default for SharedBudget {
    fn default() -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(ALL_BYTES)),
            waiting: Arc::new(Semaphore::new(WAITING_REQUESTS)),
            in_hand: Arc::new(Semaphore::new(ALL_IN_HAND_BYTES)),
        }
    }
}

impl SharedBudget {
    /// That of a new connection.
    pub(super) fn of_connection(&self, place: &Place) -> Budget {
        let connection = Arc::new(Semaphore::new(CONNECTION_BYTES));
        Budget {
            own: Arc::new(Semaphore::new(OWN_BYTES)),
            levels: [
                connection,
                Arc::clone(&place.bytes),
                Arc::clone(&self.bytes),
            ],
            waiting: Arc::clone(&self.waiting),
            in_hand: Arc::clone(&self.in_hand),
        }
    }
}

impl Budget {
    fn try_take(&self, bytes: u32) -> Option<Held> {
        if let Ok(own) = Arc::clone(&self.own).try_acquire_many_owned(bytes) {
            return Some(vec![own]);
        }
        let taken = self
            .levels
            .iter()
            .map(|level| Arc::clone(level).try_acquire_many_owned(bytes).ok());
        taken.collect()
    }

    /// Takes from all levels, one after the other and each in the order of arrival; `None`: too many wait already.
    fn take(&self, bytes: u32) -> Option<impl Future<Output = Option<Held>> + Send + 'static> {
        let place = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let levels = self.levels.clone();
        Some(async move {
            let mut held = Held::new();
            for level in levels {
                held.push(level.acquire_many_owned(bytes).await.ok()?);
            }
            drop(place);
            Some(held)
        })
    }
}

/// A request's body, within its budget.
pub(super) struct Metered<B> {
    body: B,
    /// Messages may follow each other at any time.
    streaming: bool,
    messages: Messages,
    budget: Budget,
    held: Held,
    /// Which message it is held for.
    held_for: usize,
    waiting: Option<Waiting>,
    /// What follows the data for which there was no room, and is no data.
    next: Option<Result<Frame<Bytes>, BoxError>>,
    is_over: bool,
    clock: Clock,
}

/// Data for which there is no room yet.
struct Waiting {
    data: Bytes,
    /// What came behind it meanwhile.
    more: BytesMut,
    /// Its share of what all have in hand.
    in_hand: Held,
    granted: Pin<Box<dyn Future<Output = Option<Held>> + Send>>,
}

impl Waiting {
    /// All of it, in one piece.
    fn into_data(self) -> Bytes {
        if self.more.is_empty() {
            return self.data;
        }
        let mut whole = BytesMut::with_capacity(self.data.len() + self.more.len());
        whole.extend_from_slice(&self.data);
        whole.extend_from_slice(&self.more);
        whole.freeze()
    }
}

/// The time that a message has left.
struct Clock {
    left: Duration,
    /// While the sender is waited for.
    running: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Metered<B> {
    pub(super) fn new(body: B, budget: Budget, streaming: bool) -> Self {
        Self {
            body,
            streaming,
            messages: Messages::default(),
            budget,
            held: Held::new(),
            held_for: 0,
            waiting: None,
            next: None,
            is_over: false,
            clock: Clock {
                left: MESSAGE_TIME,
                running: None,
            },
        }
    }

    /// Whether the sender owes something: the first message, the rest of one, or the end of a call that has only one.
    fn is_owed(&self) -> bool {
        let between = self.streaming && self.messages.seen() > 0;
        !between || self.messages.arrived() != Arrived::Whole
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Metered<B> {
    /// Passes data on as soon as there is room for the message that it belongs to.
    fn admit(
        &mut self,
        context: &mut Context<'_>,
        data: Bytes,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let seen = self.messages.seen();
        let cost = self.messages.cost(MAX_REQUEST_BYTES);
        if seen != self.held_for {
            self.held.clear();
            self.held_for = seen;
            self.clock.left = allowed(cost);
        }
        let is_whole = self.messages.arrived() == Arrived::Whole;
        // What has arrived whole is the service's, which a call of one message gets only at the request's end.
        let is_passed_on = is_whole && (self.streaming || self.body.is_end_stream());
        if seen == 0 || is_passed_on || !self.held.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        // Bounded by MAX_REQUEST_BYTES.
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        if let Some(held) = self.budget.try_take(cost) {
            self.held = held;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(granted) = self.budget.take(cost) else {
            return Poll::Ready(Some(Err(no_room().into())));
        };
        self.waiting = Some(Waiting {
            data,
            more: BytesMut::new(),
            in_hand: Held::new(),
            granted: Box::pin(granted),
        });
        self.poll_waiting(context)
    }

    fn poll_waiting(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(waiting) = &mut self.waiting else {
            return Poll::Pending;
        };
        let Poll::Ready(held) = waiting.granted.as_mut().poll(context) else {
            self.take_in_hand(context);
            return Poll::Pending;
        };
        self.held = held.unwrap_or_default();
        let data = self.waiting.take().map(Waiting::into_data);
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    /// Takes in hand what follows of the message that waits.
    fn take_in_hand(&mut self, context: &mut Context<'_>) {
        let Some(waiting) = &mut self.waiting else {
            return;
        };
        while self.next.is_none()
            && !self.is_over
            && waiting.data.len() + waiting.more.len() < IN_HAND_BYTES
            && self.messages.arrived() == Arrived::Part
            && let Ok(mut largest) =
                Arc::clone(&self.budget.in_hand).try_acquire_many_owned(WIDE_FRAME_BYTES)
            && let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context)
        {
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => {
                    self.messages.take(&data);
                    waiting.more.extend_from_slice(&data);
                    let taken = largest.split(data.len());
                    match waiting.in_hand.first_mut() {
                        Some(held) => taken.into_iter().for_each(|taken| held.merge(taken)),
                        None => waiting.in_hand.extend(taken),
                    }
                }
                Some(Ok(Err(frame))) => self.next = Some(Ok(frame)),
                Some(Err(error)) => self.next = Some(Err(error.into())),
                None => self.is_over = true,
            }
        }
    }
}

impl Clock {
    /// Ready when the time has run out.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let left = self.left;
        let (_, sleep) = self
            .running
            .get_or_insert_with(|| (now, Box::pin(sleep(left))));
        ready!(sleep.as_mut().poll(context));
        if now < sleep.deadline() + NOBODY_READ {
            return Poll::Ready(());
        }
        let mut again = Box::pin(sleep_until(now + left));
        let polled = again.as_mut().poll(context);
        self.running = Some((now, again));
        polled
    }

    fn stop(&mut self) {
        if let Some((since, _)) = self.running.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }
}

fn allowed(cost: usize) -> Duration {
    let seconds = u64::try_from(cost / SLOWEST_BYTES_A_SECOND).unwrap_or(u64::MAX);
    MESSAGE_TIME.saturating_add(Duration::from_secs(seconds))
}

fn no_room() -> Status {
    Reason::SpawnFailed.retry_after(
        RETRY,
        "requests that have not arrived whole hold all the memory that there is for them; try again",
    )
}

fn too_late() -> Status {
    Status::deadline_exceeded(
        "the request did not arrive whole in time; send it faster, or in chunks, and end it",
    )
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.waiting.is_some() {
            return this.poll_waiting(context);
        }
        if let Some(next) = this.next.take() {
            return Poll::Ready(Some(next));
        }
        if this.is_over {
            return Poll::Ready(None);
        }
        if this.streaming && this.messages.arrived() == Arrived::Whole {
            // Its reader has what came before.
            this.held.clear();
        }
        let frame = match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Pending if this.is_owed() => {
                ready!(this.clock.poll(context));
                return Poll::Ready(Some(Err(too_late().into())));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(frame)) => frame.map_err(Into::into)?,
        };
        this.clock.stop();
        match frame.into_data() {
            Ok(data) => {
                this.messages.take(&data);
                this.admit(context, data)
            }
            Err(frame) => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none() && self.next.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;

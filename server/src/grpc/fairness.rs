//! No connection before all others: one that always has something to read lets others go first now and then, and is not
//! read while calls that it made wait to begin. So what one may keep the workers busy with, between two turns of any other,
//! is bounded, whatever its frames are; and so is what has been read of it and not been looked at.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, Take};

/// How long a connection is read without a pause while it always has more.
const TURN: Duration = Duration::from_micros(500);

/// The least that is read at once; more, as long as it is handled in a part of a turn: a few bytes may be many frames.
const LEAST_READ_BYTES: usize = 512;

/// More than any buffer that is read into has room for.
const MOST_READ_BYTES: usize = 1024 * 1024;

/// Calls of a connection that wait to begin, from which on it is not read.
const WAITING_CALLS: usize = 8;

/// The calls of a connection that have not begun. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicUsize,
    reader: AtomicWaker,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.0.calls.load(Ordering::Acquire) >= WAITING_CALLS
    }

    /// Another one.
    pub(super) fn call(&self) -> WaitingCall {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        WaitingCall(self.clone())
    }
}

/// A call that waits, until this is dropped.
#[derive(Debug)]
pub(super) struct WaitingCall(Waiting);

impl Drop for WaitingCall {
    fn drop(&mut self) {
        let shared = &self.0.0;
        if shared.calls.fetch_sub(1, Ordering::AcqRel) == WAITING_CALLS {
            shared.reader.wake();
        }
    }
}

/// Whether the turn of a connection is over. It has another one once it is polled anew: in between it looks at all that it
/// has read, of which there would else be more with each look at a part of it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Polls(Arc<AtomicBool>);

impl Polls {
    /// Has `connection` have a turn each time that it is polled.
    pub(super) async fn of<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        poll_fn(|context| {
            self.0.store(false, Ordering::Relaxed);
            connection.as_mut().poll(context)
        })
        .await
    }

    fn end_turn(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_turn_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection that is read in turns, its calls that wait to begin, and what it is to be polled by.
pub(super) fn in_turns<S: AsyncRead>(stream: S) -> (Turns<S>, Waiting, Polls) {
    let (waiting, polls) = (Waiting::default(), Polls::default());
    let turns = Turns {
        stream: stream.take(0),
        began: None,
        last: None,
        most: LEAST_READ_BYTES,
        waiting: waiting.clone(),
        polls: polls.clone(),
    };
    (turns, waiting, polls)
}

/// A connection's bytes.
#[derive(Debug)]
pub(super) struct Turns<S> {
    /// Its limit is set for each read.
    stream: Take<S>,
    /// When the turn began: with the first read since there was nothing to read, or since the last pause.
    began: Option<Instant>,
    /// When the last read of this turn was over.
    last: Option<Instant>,
    /// How much is read at once.
    most: usize,
    waiting: Waiting,
    polls: Polls,
}

impl<S> Turns<S> {
    fn end(&mut self) {
        self.began = None;
        self.last = None;
    }

    /// Whether the turn goes on at `now`; what was read last has been handled.
    fn goes_on(&mut self, now: Instant) -> bool {
        if let Some(last) = self.last.take() {
            let took = now.duration_since(last);
            if took > TURN / 2 {
                self.most = (self.most / 2).max(LEAST_READ_BYTES);
            } else if took < TURN / 8 {
                self.most = (self.most * 2).min(MOST_READ_BYTES);
            }
        }
        now.duration_since(*self.began.get_or_insert(now)) < TURN
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Turns<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.polls.is_turn_over() {
            // It was woken when the turn ended.
            return Poll::Pending;
        }
        if this.waiting.is_full() {
            this.waiting.0.reader.register(context.waker());
            // They may have begun before anybody was there to be woken.
            if this.waiting.is_full() {
                this.end();
                return Poll::Pending;
            }
        }
        if !this.goes_on(Instant::now()) {
            this.end();
            this.polls.end_turn();
            // Behind all that waits.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.stream.set_limit(this.most as u64);
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_pending() {
            this.end();
        } else {
            this.last = Some(Instant::now());
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Turns<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream.get_mut()).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Always has more.
    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.initialize_unfilled();
            buffer.advance(buffer.remaining());
            Poll::Ready(Ok(()))
        }
    }

    /// Whether something is read without waiting.
    fn reads<S: AsyncRead + Unpin>(turns: &mut Turns<S>) -> bool {
        turns.read(&mut [0; 16]).now_or_never().is_some()
    }

    #[tokio::test]
    async fn a_turn_ends_though_there_is_more() {
        let (mut turns, _, polls) = in_turns(Endless);
        let begin = Instant::now();
        while reads(&mut turns) {}
        assert!(begin.elapsed() >= TURN);
        assert!(!reads(&mut turns), "nothing more is read in this poll");
        // Its end is no end of the connection: it is read again by itself.
        let (mut reads_one, mut polled) = ([0; 16], 0);
        let mut read = std::pin::pin!(turns.read(&mut reads_one));
        let counted = poll_fn(|context| {
            polled += 1;
            read.as_mut().poll(context)
        });
        let mut counted = std::pin::pin!(counted);
        assert_eq!(polls.of(counted.as_mut()).await.unwrap(), 16);
        assert_eq!(polled, 1, "the next one begins anew");
    }

    #[tokio::test]
    async fn whoever_ends_its_turn_is_polled_again() {
        let (mut turns, _, polls) = in_turns(Endless);
        turns.began = Instant::now().checked_sub(TURN);
        let mut one = [0; 16];
        let mut read = std::pin::pin!(turns.read(&mut one));
        assert_eq!(polls.of(read.as_mut()).await.unwrap(), 16);
    }

    #[tokio::test]
    async fn as_much_is_read_at_once_as_is_handled_soon() {
        let (mut turns, _, _) = in_turns(Endless);
        let mut buffer = vec![0; MOST_READ_BYTES];
        assert_eq!(turns.read(&mut buffer).await.unwrap(), LEAST_READ_BYTES);
        let begin = Instant::now();
        let mut handled_in = |took| {
            turns.last = Some(begin);
            turns.began = None;
            assert!(turns.goes_on(begin + took));
            turns.most
        };
        assert_eq!(handled_in(TURN / 8), LEAST_READ_BYTES);
        assert_eq!(handled_in(TURN / 9), 2 * LEAST_READ_BYTES);
        for _ in 0..20 {
            handled_in(Duration::ZERO);
        }
        assert_eq!(handled_in(TURN / 2), MOST_READ_BYTES);
        assert_eq!(handled_in(TURN), MOST_READ_BYTES / 2);
        for _ in 0..20 {
            handled_in(TURN);
        }
        assert_eq!(handled_in(TURN), LEAST_READ_BYTES);
    }

    #[tokio::test]
    async fn a_connection_is_not_read_while_its_calls_wait_to_begin() {
        let (mut turns, waiting, _) = in_turns(Endless);
        let mut calls = Vec::new();
        for _ in 0..WAITING_CALLS {
            assert!(reads(&mut turns));
            calls.push(waiting.call());
        }
        assert!(!reads(&mut turns));
        let reading = tokio::spawn(async move { turns.read(&mut [0; 16]).await });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        calls.pop();
        assert_eq!(reading.await.unwrap().unwrap(), 16);
    }
}

//! No connection before all others: one that always has something to read lets others go first now and then, and is not
//! read while calls that it made wait to begin. So what one may keep the workers busy with, between two turns of any other,
//! is bounded, whatever its frames are.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a connection is read without a pause while it always has more.
pub(super) const TURN: Duration = Duration::from_micros(500);

/// Calls of a connection that wait to begin, from which on it is not read.
pub(super) const WAITING_CALLS: usize = 32;

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

/// A connection that is read in turns, and its calls that wait to begin.
pub(super) fn in_turns<S>(stream: S) -> (Turns<S>, Waiting) {
    let waiting = Waiting::default();
    let turns = Turns {
        stream,
        began: None,
        waiting: waiting.clone(),
    };
    (turns, waiting)
}

/// A connection's bytes.
#[derive(Debug)]
pub(super) struct Turns<S> {
    stream: S,
    /// When the turn began: with the first read since there was nothing to read, or since the last pause.
    began: Option<Instant>,
    waiting: Waiting,
}

impl<S: AsyncRead + Unpin> AsyncRead for Turns<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.waiting.is_full() {
            this.waiting.0.reader.register(context.waker());
            // They may have begun before anybody was there to be woken.
            if this.waiting.is_full() {
                this.began = None;
                return Poll::Pending;
            }
        }
        if this.began.get_or_insert_with(Instant::now).elapsed() >= TURN {
            this.began = None;
            // Behind all that waits.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_pending() {
            this.began = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Turns<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::AsyncReadExt;

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
        let (mut turns, _) = in_turns(Endless);
        let begin = Instant::now();
        while reads(&mut turns) {}
        assert!(begin.elapsed() >= TURN);
        assert!(reads(&mut turns), "the next one begins anew");
        turns.began = Some(begin);
        // Its end is no end of the connection: it is read again by itself.
        assert_eq!(turns.read(&mut [0; 16]).await.unwrap(), 16);
    }

    #[tokio::test]
    async fn a_connection_is_not_read_while_its_calls_wait_to_begin() {
        let (mut turns, waiting) = in_turns(Endless);
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

//! Gathers what is written in one turn of the runtime. hyper hands a call's headers to its connection before its message,
//! and each would leave in a packet of its own: the peer would be woken twice, and twice as much would be sent.
//!
//! Only on a runtime of one thread, as `remex` has: where there are more, a task that lets others run has another thread
//! woken for it, which costs more than the packet.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Handle, RuntimeFlavor},
};

/// What would make more than this is passed on at once.
const MAX_HELD_BYTES: usize = 4 * 1024;

/// A stream that holds small writes until it is flushed, on one thread until every task that is ready by then has run.
pub(crate) struct Gather<S> {
    stream: S,
    held: Vec<u8>,
    /// A flush lets the others run first.
    yields: bool,
    /// This one has.
    yielded: bool,
}

impl<S> Gather<S> {
    /// For use on the runtime that this is called on.
    pub(crate) fn new(stream: S) -> Self {
        let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        Self {
            stream,
            held: Vec::new(),
            yields: matches!(flavor, Ok(RuntimeFlavor::CurrentThread)),
            yielded: false,
        }
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    fn poll_pass_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.held.len() + bytes > MAX_HELD_BYTES {
            ready!(self.poll_pass_on(cx))?;
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        for buf in bufs {
            self.held.extend_from_slice(buf);
        }
        Poll::Ready(Ok(bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.yields && !self.yielded && !self.held.is_empty() {
            self.yielded = true;
            // A task that wakes itself comes behind those that are ready.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_pass_on(cx))?;
        self.yielded = false;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_pass_on(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What was written, a write each; a write takes at most `most` bytes.
    struct Record {
        writes: Vec<Vec<u8>>,
        most: usize,
    }

    impl AsyncWrite for Record {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = buf.len().min(self.most);
            self.writes.push(buf[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn gather(most: usize) -> Gather<Record> {
        let writes = Vec::new();
        Gather::new(Record { writes, most })
    }

    async fn flush_at_once(gather: &mut Gather<Record>) {
        poll_fn(|cx| {
            let poll = Pin::new(&mut *gather).poll_flush(cx);
            assert!(poll.is_ready());
            poll
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn what_is_written_during_a_flush_leaves_with_it() {
        let mut gather = gather(usize::MAX);
        gather.write_all(b"headers ").await.unwrap();
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            let poll = Pin::new(&mut gather).poll_flush(cx);
            if polls == 1 {
                assert!(poll.is_pending());
                // As the next task does.
                let written = Pin::new(&mut gather).poll_write(cx, b"message");
                assert!(matches!(written, Poll::Ready(Ok(7))));
            }
            poll
        })
        .await
        .unwrap();
        assert_eq!(polls, 2);
        assert_eq!(gather.stream.writes, [b"headers message"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn where_there_are_more_threads_a_flush_waits_for_nobody() {
        let mut gather = gather(usize::MAX);
        gather.write_all(b"headers").await.unwrap();
        flush_at_once(&mut gather).await;
        assert_eq!(gather.stream.writes, [b"headers"]);
    }

    #[tokio::test]
    async fn a_flush_of_nothing_waits_for_nobody() {
        let mut gather = gather(usize::MAX);
        flush_at_once(&mut gather).await;
        assert!(gather.stream.writes.is_empty());
    }

    #[tokio::test]
    async fn what_is_large_is_not_held_and_comes_behind_what_is() {
        let mut gather = gather(usize::MAX);
        let large = vec![b'x'; MAX_HELD_BYTES];
        gather.write_all(b"small").await.unwrap();
        assert!(gather.stream.writes.is_empty());
        gather.write_all(&large).await.unwrap();
        assert_eq!(gather.stream.writes, [b"small".to_vec(), large]);
    }

    #[tokio::test]
    async fn a_shutdown_sends_all_however_little_a_write_takes() {
        let mut gather = gather(2);
        gather.write_all(b"abcde").await.unwrap();
        gather.shutdown().await.unwrap();
        assert_eq!(gather.stream.writes.concat(), b"abcde");
        assert_eq!(gather.stream.writes.len(), 3);
    }
}

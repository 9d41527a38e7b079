//! What was heard of a peer: the first byte, which tells a server of HTTP/2 from anything else, and when there was
//! anything at all. An HTTP/2 client's handshake is over before the peer has said a word, so without this a silent or
//! foreign port would look like a connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::Instant,
};

/// What the peer said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// The beginning of a SETTINGS frame, which is what every HTTP/2 server sends first.
    Http2,
    /// Something else.
    Foreign,
}

impl Greeting {
    /// A frame begins with its length in three bytes, and a SETTINGS frame is far shorter than 64 KiB. A response of
    /// HTTP/1 begins with `H`, a TLS alert with 21.
    fn of(first: u8) -> Self {
        if first == 0 {
            Self::Http2
        } else {
            Self::Foreign
        }
    }
}

/// When something was heard last.
#[derive(Clone)]
pub(crate) struct LastHeard(Arc<Mutex<Instant>>);

impl LastHeard {
    /// How long ago.
    pub(crate) fn elapsed(&self) -> Duration {
        self.lock().elapsed()
    }

    fn note(&self) {
        *self.lock() = Instant::now();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that reports its peer's greeting once, and notes when it hears something.
pub(crate) struct Heard<S> {
    stream: S,
    report: Option<oneshot::Sender<Greeting>>,
    last: LastHeard,
}

impl<S> Heard<S> {
    /// `stream`, and the greeting; the receiver fails if the stream is dropped before the peer sent anything.
    pub(crate) fn new(stream: S) -> (Self, oneshot::Receiver<Greeting>) {
        let (sender, receiver) = oneshot::channel();
        let heard = Self {
            stream,
            report: Some(sender),
            last: LastHeard(Arc::new(Mutex::new(Instant::now()))),
        };
        (heard, receiver)
    }

    /// When it heard something last; until then, when it was made.
    pub(crate) fn last(&self) -> LastHeard {
        self.last.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(&first) = buf.filled().get(before) {
            self.last.note();
            if let Some(report) = self.report.take() {
                // Nobody listens any more if connecting was given up.
                let _ = report.send(Greeting::of(first));
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn greeting(sent: &[u8]) -> Option<Greeting> {
        let (mut far, near) = tokio::io::duplex(64);
        far.write_all(sent).await.unwrap();
        drop(far);
        let (mut stream, greeting) = Heard::new(near);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, sent);
        drop(stream);
        greeting.await.ok()
    }

    #[tokio::test]
    async fn the_first_byte_tells() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        assert_eq!(greeting(&settings).await, Some(Greeting::Http2));
        assert_eq!(greeting(b"HTTP/1.1 400").await, Some(Greeting::Foreign));
        assert_eq!(greeting(&[21, 3, 3]).await, Some(Greeting::Foreign));
        assert_eq!(greeting(b"").await, None);
    }
}

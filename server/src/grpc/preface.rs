//! The first bytes of a connection: HTTP/2's preface, within a bounded time, or an answer that says what is spoken here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink},
    time::timeout,
};

use super::stream::Stream;

/// A connection has to send its preface within this time.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// RFC 9113, section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client of HTTP/1 is told.
const HTTP_1_ANSWER: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\n\
    content-type: text/plain\r\n\
    content-length: 76\r\n\
    connection: close\r\n\r\n\
    This port speaks gRPC over HTTP/2; it speaks neither HTTP/1.1 nor gRPC-Web.\n";

/// As much of its request is read, and thrown away.
const MAX_HTTP_1_BYTES: u64 = 64 * 1024;

/// A connection whose preface has been read, and is read again by HTTP/2.
#[derive(Debug)]
pub(super) struct Opened {
    /// Bytes of the preface that were given out.
    given: usize,
    stream: Stream,
}

/// Why a connection is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPreface {
    #[error("no HTTP/2 preface within {PREFACE_TIMEOUT:?}")]
    Late,
    #[error("it does not speak HTTP/2")]
    Foreign,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the preface.
pub(super) async fn open(mut stream: Stream) -> Result<Opened, NoPreface> {
    let read = timeout(PREFACE_TIMEOUT, read(&mut stream)).await;
    read.map_err(|_| NoPreface::Late)??;
    Ok(Opened { given: 0, stream })
}

async fn read(stream: &mut Stream) -> Result<(), NoPreface> {
    let mut bytes = [0; PREFACE.len()];
    let mut filled = 0;
    while filled < bytes.len() {
        match stream.read(&mut bytes[filled..]).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            read => filled += read,
        }
        if bytes[..filled] != PREFACE[..filled] {
            if bytes[..filled].contains(&b' ') {
                answer(stream).await?;
            }
            return Err(NoPreface::Foreign);
        }
    }
    Ok(())
}

/// Says what is spoken here. A connection that is closed with something unread is reset, and the answer may be lost by that.
async fn answer(stream: &mut Stream) -> io::Result<()> {
    stream.write_all(HTTP_1_ANSWER).await?;
    stream.shutdown().await?;
    copy(&mut stream.take(MAX_HTTP_1_BYTES), &mut sink()).await?;
    Ok(())
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < PREFACE.len() {
            let rest = &PREFACE[self.given..];
            let bytes = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..bytes]);
            self.given += bytes;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Opened {
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
    use super::*;

    #[test]
    fn the_answer_counts_its_body() {
        let answer = std::str::from_utf8(HTTP_1_ANSWER).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
}

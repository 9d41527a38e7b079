//! Whether the peer speaks HTTP/2 is found out before a call is given to the connection. HTTP/2's own handshake is over
//! before the peer has said a word: without this, a silent or foreign port would look like a connection, and whether a
//! call that was sent to it ran would not be known.
//!
//! So the client's preface is sent here, the peer's first frame is waited for, and both are hidden from what comes after:
//! that sends its preface into the void, and reads the frame once more.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// RFC 9113, section 3.4. Every server answers it with a SETTINGS frame, if it has not sent that already.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame's header: three bytes of length, type, flags, stream.
const HEADER_BYTES: usize = 9;
/// The type of SETTINGS.
const SETTINGS: u8 = 4;
/// What an alert of TLS begins with: its type, and the version of old.
const TLS_ALERT: [u8; 2] = [21, 3];

/// Why a connection is of no use.
#[derive(Debug, PartialEq)]
pub(super) enum NoGreeting {
    /// The peer closed it without a word.
    Closed,
    /// The peer speaks something else.
    Foreign,
    /// The peer speaks TLS, which this connection is not.
    SpeaksTls,
    /// TLS ends here: of version 1.3, the server says no more than now what it thinks of its client's certificate.
    Tls(rustls::Error),
}

impl NoGreeting {
    /// The peer was not heard any further than `filled` bytes.
    fn of(error: &io::Error, filled: usize) -> Self {
        match super::tls::of(error) {
            Some(error) => Self::Tls(error.clone()),
            None if filled == 0 => Self::Closed,
            None => Self::Foreign,
        }
    }
}

/// A connection whose peer speaks HTTP/2. What is written to it begins with the preface, as HTTP/2 has it.
#[derive(Debug)]
pub(super) struct Greeted<S> {
    stream: S,
    /// What was heard already.
    header: [u8; HEADER_BYTES],
    /// How much of that was read.
    read: usize,
    /// How much of the preface was written, which has been sent already.
    written: usize,
}

/// Whether `heard` may be the beginning of a SETTINGS frame that is no answer: one that is of the connection itself, and
/// far shorter than 64 KiB.
fn is_settings(heard: &[u8]) -> bool {
    let header = [
        Some(0),
        None,
        None,
        Some(SETTINGS),
        Some(0),
        Some(0),
        Some(0),
        Some(0),
        Some(0),
    ];
    heard
        .iter()
        .zip(header)
        .all(|(&byte, expected)| expected.is_none_or(|expected| byte == expected))
}

/// Says the preface, and waits for the answer.
pub(super) async fn greet<S>(mut stream: S) -> Result<Greeted<S>, NoGreeting>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut header = [0; HEADER_BYTES];
    let mut filled = 0;
    // A peer may answer, and close the connection, before it has read anything.
    let _ = stream.write_all(PREFACE).await;
    while filled < HEADER_BYTES {
        match stream.read(&mut header[filled..]).await {
            Ok(0) if filled == 0 => return Err(NoGreeting::Closed),
            Ok(0) => return Err(NoGreeting::Foreign),
            Err(error) => return Err(NoGreeting::of(&error, filled)),
            Ok(bytes) => filled += bytes,
        }
        if header[..filled].starts_with(&TLS_ALERT) {
            return Err(NoGreeting::SpeaksTls);
        }
        if !is_settings(&header[..filled]) {
            return Err(NoGreeting::Foreign);
        }
    }
    Ok(Greeted {
        stream,
        header,
        read: 0,
        written: 0,
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read < HEADER_BYTES {
            let rest = &self.header[self.read..];
            let bytes = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..bytes]);
            self.read += bytes;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S> Greeted<S> {
    /// Takes what `data` begins with of the preface; 0: all of it is through.
    fn swallow(&mut self, data: &[u8]) -> usize {
        let bytes = data.len().min(PREFACE.len() - self.written);
        debug_assert_eq!(data[..bytes], PREFACE[self.written..self.written + bytes]);
        self.written += bytes;
        bytes
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.swallow(data) {
            0 => Pin::new(&mut self.stream).poll_write(cx, data),
            bytes => Poll::Ready(Ok(bytes)),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = data.iter().find(|slice| !slice.is_empty());
        match first.map_or(0, |slice| self.swallow(slice)) {
            0 => Pin::new(&mut self.stream).poll_write_vectored(cx, data),
            bytes => Poll::Ready(Ok(bytes)),
        }
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
    use tokio::io::duplex;

    use super::*;

    /// An empty SETTINGS frame.
    const EMPTY: [u8; HEADER_BYTES] = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];

    async fn greeted_with(answer: &[u8]) -> Result<(), NoGreeting> {
        let (mut far, near) = duplex(64);
        far.write_all(answer).await.unwrap();
        far.shutdown().await.unwrap();
        greet(near).await.map(drop)
    }

    #[tokio::test]
    async fn a_settings_frame_is_told_from_all_else() {
        assert_eq!(greeted_with(&EMPTY).await, Ok(()));
        assert_eq!(greeted_with(&[0, 0, 30, 4, 0, 0, 0, 0, 0, 9]).await, Ok(()));
        assert_eq!(greeted_with(b"").await, Err(NoGreeting::Closed));
        let alert = greeted_with(&[21, 3, 3, 0, 2, 2, 10]).await;
        assert_eq!(alert, Err(NoGreeting::SpeaksTls));
        for foreign in [
            &b"HTTP/1.1 400"[..],
            b"H",
            // A length of the old protocol, cut and whole.
            &[0, 0, 0],
            &[0, 0, 0, 5, b'h', b'e', b'l', b'l', b'o'],
            // An answer to a SETTINGS frame that nobody has sent.
            &[0, 0, 0, 4, 1, 0, 0, 0, 0],
        ] {
            assert_eq!(
                greeted_with(foreign).await,
                Err(NoGreeting::Foreign),
                "{foreign:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_preface_goes_once_and_the_frame_is_read_again() {
        let (mut far, near) = duplex(1024);
        far.write_all(&EMPTY).await.unwrap();
        far.write_all(b"more").await.unwrap();
        let mut stream = greet(near).await.unwrap();
        // In pieces, of which one reaches beyond it.
        stream.write_all(&PREFACE[..7]).await.unwrap();
        let rest = [&PREFACE[7..], b"frames"].concat();
        stream.write_all(&rest).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut read = [0; HEADER_BYTES + 4];
        stream.read_exact(&mut read).await.unwrap();
        assert_eq!(read[..], [&EMPTY[..], b"more"].concat());
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, [&PREFACE[..], b"frames"].concat());
    }
}

//! HTTP/2 by hand: what a library would not send.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy, sink, split},
    net::TcpStream,
};

/// RFC 9113, section 3.4.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types of section 6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The headers of a call of `path`, as HPACK's literals that nobody indexes.
pub(crate) fn call(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect()
}

/// One header field; each part shorter than 127 bytes.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for part in [name, value] {
        bytes.push(u8::try_from(part.len()).expect("a short part"));
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The `n`-th stream of a client.
pub(crate) fn stream_id(n: u32) -> u32 {
    2 * n + 1
}

/// A connection on which the preface and the first SETTINGS were sent. What the server sends is read and dropped, or never
/// read.
pub(crate) struct Raw {
    writer: Box<dyn AsyncWrite + Send + Unpin>,
    reader: Option<Box<dyn AsyncRead + Send + Unpin>>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Self::begin(Box::new(reader), Box::new(writer)).await
    }

    /// Over a stream that is there already, of TLS.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> io::Result<Self> {
        let (reader, writer) = split(stream);
        Self::begin(Box::new(reader), Box::new(writer)).await
    }

    async fn begin(
        reader: Box<dyn AsyncRead + Send + Unpin>,
        mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    ) -> io::Result<Self> {
        writer.write_all(PREFACE).await?;
        writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        // Over TLS it waits for more otherwise.
        writer.flush().await?;
        let reader = Some(reader);
        Ok(Self { writer, reader })
    }

    /// From now on what the server sends is read.
    pub(crate) fn listen(mut self) -> Self {
        if let Some(mut reader) = self.reader.take() {
            tokio::spawn(async move { copy(&mut reader, &mut sink()).await });
        }
        self
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await
    }
}

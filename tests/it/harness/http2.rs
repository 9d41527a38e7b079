//! HTTP/2 by hand: requests that no library would send, and frames that go out together.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::AbortHandle,
};

use super::{Daemon, soon};

/// What clients take; more of them is an error of its own.
const CLIENT_HEADER_BYTES: u32 = 8 * 1024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

/// `message` as gRPC frames it, uncompressed.
pub(crate) fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) data: Vec<u8>,
}

impl Answer {
    /// A header, or a trailer.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.trailers.get(name).or_else(|| self.headers.get(name));
        value.and_then(|value| value.to_str().ok())
    }
}

/// A connection over h2 itself.
pub(crate) struct Http2 {
    sender: h2::client::SendRequest<Bytes>,
    connection: AbortHandle,
}

impl Http2 {
    pub(crate) async fn connect(daemon: &Daemon) -> Self {
        let stream = TcpStream::connect(daemon.socket("grpc")).await.unwrap();
        Self::over(stream).await.unwrap()
    }

    /// Over a stream that is there already: of a Unix socket, of TLS, of another user.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Self, h2::Error> {
        let mut builder = h2::client::Builder::new();
        builder.max_header_list_size(CLIENT_HEADER_BYTES);
        let (sender, connection) = builder.handshake(stream).await?;
        let connection = tokio::spawn(async {
            let _ = connection.await;
        })
        .abort_handle();
        Ok(Self { sender, connection })
    }

    /// Sends a request with all of its body, and leaves its answer to the caller. Dropping either half cancels it.
    pub(crate) async fn send(
        &mut self,
        request: Request<()>,
        body: Bytes,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        // A server that has answered may have reset its side.
        let _ = stream.send_data(body, true);
        (response, stream)
    }

    /// The whole answer to a call of ExecService.
    pub(crate) async fn call(&mut self, method: &str, message: &impl Message) -> Answer {
        let request = Request::post(format!("http://localhost/remex.v1.ExecService/{method}"))
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        self.ask(request, framed(message)).await
    }

    /// The whole answer to a request.
    pub(crate) async fn ask(&mut self, request: Request<()>, body: Bytes) -> Answer {
        let (response, _stream) = self.send(request, body).await;
        let response: Response<_> = soon("an answer", response).await.unwrap();
        let (parts, mut body) = response.into_parts();
        let mut all = Vec::new();
        while let Some(data) = soon("data", body.data()).await {
            let data = data.unwrap();
            all.extend_from_slice(&data);
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        let trailers = soon("trailers", body.trailers()).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            trailers: trailers.unwrap_or_default(),
            data: all,
        }
    }

    /// Whether a request without a body is answered at all.
    pub(crate) async fn try_ask(&mut self, request: Request<()>) -> Result<(), h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, _stream) = sender.send_request(request, true)?;
        response.await.map(drop)
    }

    /// The headers of an answer, and its first data if it has any; what follows is left.
    pub(crate) async fn begin(&mut self, request: Request<()>, body: Bytes) -> Answer {
        let (response, _stream) = self.send(request, body).await;
        let response: Response<_> = soon("an answer", response).await.unwrap();
        let (parts, mut body) = response.into_parts();
        let data = soon("data", body.data()).await;
        Answer {
            status: parts.status,
            headers: parts.headers,
            trailers: HeaderMap::new(),
            data: data.map(|data| data.unwrap().to_vec()).unwrap_or_default(),
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A connection whose frames are written by hand, and of what comes back only looked at as far as they need it.
pub(crate) struct Frames {
    stream: TcpStream,
    next: u32,
    out: Vec<u8>,
}

impl Frames {
    pub(crate) async fn connect(daemon: &Daemon) -> Self {
        let stream = TcpStream::connect(daemon.socket("grpc")).await.unwrap();
        let mut frames = Self {
            stream,
            next: 1,
            out: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        };
        frames.frame(SETTINGS, 0, 0, &[]);
        // Once there is an answer, the server has taken the connection on.
        frames.flush().await;
        let mut settings = [0; 9];
        soon("settings", frames.stream.read_exact(&mut settings))
            .await
            .unwrap();
        let length = u32::from_be_bytes([0, settings[0], settings[1], settings[2]]);
        let mut rest = vec![0; length as usize];
        soon("settings", frames.stream.read_exact(&mut rest))
            .await
            .unwrap();
        frames.frame(SETTINGS, 1, 0, &[]);
        frames
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.out.extend_from_slice(&length[1..]);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
        self.out.extend_from_slice(payload);
    }

    /// Adds a call's headers, and returns its stream.
    pub(crate) fn headers(&mut self, path: &str, ends: bool) -> u32 {
        self.headers_to("localhost", path, ends)
    }

    /// The same, of a call to `authority`.
    pub(crate) fn headers_to(&mut self, authority: &str, path: &str, ends: bool) -> u32 {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            // A literal without indexing, and without Huffman's code.
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let stream = self.next;
        self.next += 2;
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block);
        stream
    }

    pub(crate) fn data(&mut self, stream: u32, data: &[u8], ends: bool) {
        self.frame(DATA, if ends { END_STREAM } else { 0 }, stream, data);
    }

    pub(crate) fn cancel(&mut self, stream: u32) {
        self.frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }

    /// Writes what was added, in one go.
    pub(crate) async fn flush(&mut self) {
        let out = std::mem::take(&mut self.out);
        soon("room", self.stream.write_all(&out)).await.unwrap();
    }

    /// The same, whether or not the server takes it.
    pub(crate) async fn try_flush(&mut self) -> std::io::Result<()> {
        let out = std::mem::take(&mut self.out);
        soon("room", self.stream.write_all(&out)).await
    }

    /// Reads until there is data of `stream`; `false` if the server says goodbye before.
    pub(crate) async fn has_data_of(&mut self, stream: u32) -> bool {
        self.has_frame_of(DATA, stream).await
    }

    /// The same for headers.
    pub(crate) async fn has_headers_of(&mut self, stream: u32) -> bool {
        self.has_frame_of(HEADERS, stream).await
    }

    /// The same for a reset.
    pub(crate) async fn has_reset_of(&mut self, stream: u32) -> bool {
        self.has_frame_of(RST_STREAM, stream).await
    }

    async fn has_frame_of(&mut self, kind: u8, stream: u32) -> bool {
        loop {
            let mut head = [0; 9];
            if soon("a frame", self.stream.read_exact(&mut head))
                .await
                .is_err()
            {
                return false;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            soon("a frame", self.stream.read_exact(&mut payload))
                .await
                .unwrap();
            let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match head[3] {
                GOAWAY => return false,
                other if other == kind && of == stream && length > 0 => return true,
                _ => {}
            }
        }
    }
}

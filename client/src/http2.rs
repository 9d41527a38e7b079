//! One HTTP/2 connection, and the calls over it.
//!
//! Over h2 itself: a call's headers and its message are queued before the connection's task runs, so that they leave in
//! one packet, and a call whose request is one message needs no task of its own.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    PingPong, Reason, RecvStream, SendStream,
    client::{Builder, Connection, SendRequest},
};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::{sleep, timeout},
};
use tonic::{Code, Status, body::Body};

use crate::heard::{Heard, LastHeard};

/// Flow-control window of one call. Set by hand as all of these.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Flow-control window of a connection, so that it takes sixteen calls that nobody reads to hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The largest DATA frame taken.
const MAX_FRAME_BYTES: u32 = 128 << 10;
/// The most metadata that one answer may carry.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// What one call may have waiting to be written.
const MAX_SEND_BUFFER_BYTES: usize = 1 << 20;
/// In silence, the peer is asked this often whether it is still there.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long it may take to answer that.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes calls over one connection; its clones share it.
#[derive(Clone)]
pub(crate) struct Sender(SendRequest<Bytes>);

impl Sender {
    /// Says the first words over `stream`, and drives the connection for as long as a sender or a call lives.
    pub(crate) async fn open<S>(stream: Heard<S>) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let last_heard = stream.last();
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(MAX_FRAME_BYTES)
            .max_header_list_size(MAX_HEADER_BYTES)
            .max_send_buffer_size(MAX_SEND_BUFFER_BYTES)
            .handshake(stream)
            .await?;
        let pings = connection.ping_pong();
        tokio::spawn(drive(connection, pings, last_heard));
        Ok(Self(sender))
    }

    /// No further call can be made: the connection has ended, or its peer takes no more.
    pub(crate) fn is_closed(&mut self) -> bool {
        let poll = self.0.poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(poll, Poll::Ready(Err(_)))
    }

    /// Makes a call. It is cancelled when this, or the body of its response, is dropped before its end.
    pub(crate) async fn call(&mut self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        let request = Request::from_parts(parts, ());
        let (response, stream) = self
            .0
            .send_request(request, false)
            .map_err(|error| lost(&error))?;
        let (interest, interested) = oneshot::channel();
        let mut upload = Upload {
            body,
            stream,
            held: None,
            has_sent: false,
            interested,
        };
        let poll = Pin::new(&mut upload).poll(&mut Context::from_waker(Waker::noop()));
        if poll.is_pending() {
            // Its task polls it again: no wake-up of the first look is missed.
            tokio::spawn(upload);
        }
        let response = response.await.map_err(|error| lost(&error))?;
        Ok(response.map(|stream| {
            Body::new(Download {
                stream,
                _interest: interest,
            })
        }))
    }
}

/// Drives a connection until it ends or its peer does not answer; either is told to its calls.
async fn drive<S>(connection: Connection<S, Bytes>, pings: Option<PingPong>, last_heard: LastHeard)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        biased;
        _ = connection => {}
        () = silence(pings, last_heard) => {}
    }
}

/// Returns when the peer was silent for [`KEEPALIVE_INTERVAL`], was asked whether it is there, and said nothing for
/// [`KEEPALIVE_TIMEOUT`].
async fn silence(pings: Option<PingPong>, last_heard: LastHeard) {
    let Some(mut pings) = pings else {
        return pending().await;
    };
    loop {
        let rest = KEEPALIVE_INTERVAL.saturating_sub(last_heard.elapsed());
        if !rest.is_zero() {
            sleep(rest).await;
            continue;
        }
        // Refused while the last one is unanswered, which is then waited for.
        let _ = pings.send_ping(h2::Ping::opaque());
        let pong = poll_fn(|cx| pings.poll_pong(cx));
        match timeout(KEEPALIVE_TIMEOUT, pong).await {
            // The connection has ended, as its own future says.
            Ok(Err(_)) => return pending().await,
            Err(_) if last_heard.elapsed() >= KEEPALIVE_TIMEOUT => return,
            // It is there; what answers may wait behind much else.
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}

/// Sends a request's body, no faster than the peer takes it; over when it has been queued to its end, or cannot be.
struct Upload {
    body: Body,
    stream: SendStream<Bytes>,
    /// Sent with what follows, which may be the end.
    held: Option<Bytes>,
    /// Something was sent, so the peer may have no room.
    has_sent: bool,
    /// Ends with the caller's interest in the response.
    interested: oneshot::Receiver<Infallible>,
}

impl Upload {
    /// Ready when there is room for more, or the stream is no more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Ended)),
                Poll::Pending => return self.poll_ended(cx).map(Err),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when either side has ended the call.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if Pin::new(&mut self.interested).poll(cx).is_ready() {
            self.stream.send_reset(Reason::CANCEL);
            return Poll::Ready(Ended);
        }
        self.stream.poll_reset(cx).map(|_| Ended)
    }

    fn send(&mut self, data: Bytes, is_last: bool) -> Result<(), Ended> {
        self.has_sent = true;
        self.stream.send_data(data, is_last).map_err(|_| Ended)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            if self.has_sent {
                ready!(self.poll_room(cx))?;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // A request of gRPC has no trailers.
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if let Some(before) = self.held.replace(data) {
                        self.send(before, false)?;
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(Err(Ended));
                }
                Poll::Ready(None) => {
                    let rest = self.held.take().unwrap_or_default();
                    return Poll::Ready(self.send(rest, true));
                }
                Poll::Pending => {
                    if let Some(held) = self.held.take() {
                        self.send(held, false)?;
                    }
                    return self.poll_ended(cx).map(Err);
                }
            }
        }
    }
}

/// The stream is no more; its response says why.
struct Ended;

impl Future for Upload {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_end(cx).map(|_| ())
    }
}

/// A response's body. What has been taken of it makes room for more.
struct Download {
    stream: RecvStream,
    _interest: oneshot::Sender<Infallible>,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(data) = ready!(self.stream.poll_data(cx)) {
            let data = data.map_err(|error| lost(&error))?;
            // Refused for a stream that has ended, which needs no room.
            let _ = self.stream.flow_control().release_capacity(data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(self.stream.poll_trailers(cx)).map_err(|error| lost(&error))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// What a call ends with when HTTP/2 breaks under it.
fn lost(error: &h2::Error) -> Status {
    match error.reason().filter(|_| error.is_reset()) {
        Some(reason) => Status::new(
            code_of(reason),
            format!("the server cut the call off: {reason}"),
        ),
        None => Status::unavailable(format!("the connection to the server was lost: {error}")),
    }
}

/// The mapping of gRPC's PROTOCOL-HTTP2.
fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

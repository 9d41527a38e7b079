//! Calls over h2, against h2's own server at the other end of a pipe in memory.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, server};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{Code, Status, body::Body};

use crate::{
    heard::Heard,
    http2::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Sender},
};

const PIPE_BYTES: usize = 256 * 1024;

/// Counts the writes that pass through it.
struct Counted {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A body of what comes out of a channel, and how many messages were taken from it.
struct Messages {
    messages: mpsc::Receiver<Bytes>,
    taken: Arc<AtomicUsize>,
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.messages.poll_recv(cx).map(|message| {
            let message = message?;
            self.taken.fetch_add(1, Ordering::Relaxed);
            Some(Ok(Frame::data(message)))
        })
    }
}

fn request(body: Body) -> Request<Body> {
    let uri = "http://server/remex.v1.EchoService/Echo";
    Request::post(uri).body(body).unwrap()
}

fn messages(capacity: usize) -> (mpsc::Sender<Bytes>, Arc<AtomicUsize>, Body) {
    let (sender, messages) = mpsc::channel(capacity);
    let taken = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&taken);
    let body = Body::new(Messages {
        messages,
        taken: counted,
    });
    (sender, taken, body)
}

/// A message, then the end.
fn message(text: &'static str) -> Body {
    let (sender, _, body) = messages(1);
    sender
        .try_send(Bytes::from_static(text.as_bytes()))
        .unwrap();
    body
}

async fn connect(stream: DuplexStream) -> (Sender, Arc<AtomicUsize>) {
    let writes = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&writes);
    let (heard, _) = Heard::new(Counted {
        stream,
        writes: counted,
    });
    (Sender::open(heard).await.unwrap(), writes)
}

async fn handshake(stream: DuplexStream) -> server::Connection<DuplexStream, Bytes> {
    server::handshake(stream).await.unwrap()
}

/// What is left of a body.
async fn rest(mut body: RecvStream) -> Result<usize, h2::Error> {
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        bytes += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(bytes)
}

/// Answers every call with what it sent, once all of that is there.
async fn answer(stream: DuplexStream) {
    let mut connection = handshake(stream).await;
    while let Some(call) = connection.accept().await {
        let (request, mut respond) = call.unwrap();
        tokio::spawn(async move {
            let bytes = rest(request.into_body()).await.unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(vec![b'x'; bytes].into(), true).unwrap();
        });
    }
}

async fn length(response: Response<Body>) -> usize {
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes += frame.unwrap().into_data().unwrap().len();
    }
    bytes
}

#[tokio::test]
async fn a_call_of_one_message_leaves_in_one_write() {
    let (near, far) = duplex(PIPE_BYTES);
    tokio::spawn(answer(far));
    let (mut sender, writes) = connect(near).await;
    // The first exchanges settings, too.
    let response = sender.clone().call(request(message("hello"))).await;
    assert_eq!(length(response.unwrap()).await, 5);
    let before = writes.load(Ordering::Relaxed);
    let response = sender.call(request(message("hello"))).await.unwrap();
    assert_eq!(writes.load(Ordering::Relaxed) - before, 1);
    assert_eq!(length(response).await, 5);
}

#[tokio::test]
async fn messages_are_taken_no_faster_than_the_peer_takes_them() {
    const MESSAGES: usize = 64;
    const MESSAGE_BYTES: usize = 16 * 1024;
    let (near, far) = duplex(PIPE_BYTES);
    let (mut sender, _) = connect(near).await;
    let (messages, taken, body) = messages(MESSAGES);
    for _ in 0..MESSAGES {
        messages.try_send(vec![0; MESSAGE_BYTES].into()).unwrap();
    }
    drop(messages);
    let call = tokio::spawn(async move { sender.call(request(body)).await });
    let mut connection = handshake(far).await;
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    let connection = tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let mut body = request.into_body();
    // The window of a connection that nobody has enlarged: 65,535 bytes. One message more is held, one is being sent.
    let most = 65_535 / MESSAGE_BYTES + 2;
    let mut unread = Vec::new();
    while unread.iter().map(Bytes::len).sum::<usize>() < 65_535 {
        unread.push(body.data().await.unwrap().unwrap());
    }
    let so_far = taken.load(Ordering::Relaxed);
    assert!(so_far <= most, "{so_far} of {most}");
    body.flow_control().release_capacity(65_535).unwrap();
    let bytes = 65_535 + rest(body).await.unwrap();
    assert_eq!(bytes, MESSAGES * MESSAGE_BYTES);
    respond.send_response(Response::new(()), true).unwrap();
    assert_eq!(length(call.await.unwrap().unwrap()).await, 0);
    connection.await.unwrap();
}

#[tokio::test]
async fn a_call_whose_request_goes_on_is_cancelled_with_its_response() {
    let (near, far) = duplex(PIPE_BYTES);
    let (mut sender, _) = connect(near).await;
    let (messages, _, body) = messages(1);
    let call = tokio::spawn(async move { sender.call(request(body)).await });
    let mut connection = handshake(far).await;
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let _body = respond.send_response(Response::new(()), false).unwrap();
    drop(call.await.unwrap().unwrap());
    let error = rest(request.into_body()).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    // The body is let go of, too.
    messages.closed().await;
}

#[tokio::test]
async fn a_call_that_the_peer_ends_lets_go_of_its_request() {
    let (near, far) = duplex(PIPE_BYTES);
    let (mut sender, _) = connect(near).await;
    let (messages, _, body) = messages(1);
    let call = tokio::spawn(async move { sender.call(request(body)).await });
    let mut connection = handshake(far).await;
    let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    respond.send_reset(h2::Reason::REFUSED_STREAM);
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    messages.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up_and_one_that_answers_is_not() {
    let (near, mut far) = duplex(PIPE_BYTES);
    let (mut sender, _) = connect(near).await;
    tokio::spawn(async move { while far.read_u8().await.is_ok() {} });
    let bound = KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT;
    let begin = Instant::now();
    let call = async { sender.clone().call(request(message("hello"))).await };
    let ended = timeout(2 * bound, call).await.expect("it is given up");
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    let late = begin.elapsed().checked_sub(bound).unwrap();
    assert!(late < Duration::from_secs(1), "{late:?}");
    assert!(sender.is_closed());

    let (near, far) = duplex(PIPE_BYTES);
    let (mut sender, _) = connect(near).await;
    let mut connection = handshake(far).await;
    let call = {
        let mut sender = sender.clone();
        tokio::spawn(async move { sender.call(request(message("hello"))).await })
    };
    let (_request, mut respond) = connection.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    tokio::time::sleep(10 * bound).await;
    assert!(!sender.is_closed());
    respond.send_response(Response::new(()), true).unwrap();
    assert_eq!(length(call.await.unwrap().unwrap()).await, 0);
}

//! Calls over connections, against h2's own server, or frames written by hand where that is too well-behaved.

use std::{future::poll_fn, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{Reason, RecvStream, server};
use http::{Request, Response};
use http_body::{Body as _, Frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::{Code, Status, body::Body};
use tower::Service;

use super::{
    MAX_CALLS_PER_CONNECTION, MAX_CONNECTIONS, Pool, STREAM_WINDOW_BYTES, call::HANDOVER_TIMEOUT,
    never_ran,
};
use crate::Endpoint;

const PATIENCE: Duration = Duration::from_secs(30);

type Accepted = (Request<RecvStream>, server::SendResponse<Bytes>);

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint.parse().unwrap())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(output) = timeout(PATIENCE, future).await else {
        panic!("{what} did not happen");
    };
    output
}

/// A body of what comes out of a channel.
struct Messages(mpsc::Receiver<Bytes>);

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0
            .poll_recv(cx)
            .map(|message| Some(Ok(Frame::data(message?))))
    }
}

fn messages(capacity: usize) -> (mpsc::Sender<Bytes>, Body) {
    let (sender, messages) = mpsc::channel(capacity);
    (sender, Body::new(Messages(messages)))
}

/// A message, then the end.
fn message() -> Body {
    let (sender, body) = messages(1);
    sender.try_send(Bytes::from_static(b"hello")).unwrap();
    body
}

fn request(body: Body) -> Request<Body> {
    let path = "/remex.v1.EchoService/Echo";
    Request::post(path).body(body).unwrap()
}

async fn send(pool: &Pool, request: Request<Body>) -> Result<Response<Body>, Status> {
    pool.clone().call(request).await
}

fn begin(
    pool: &Pool,
    request: Request<Body>,
) -> tokio::task::JoinHandle<Result<Response<Body>, Status>> {
    let pool = pool.clone();
    tokio::spawn(async move { send(&pool, request).await })
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

async fn length(response: Response<Body>) -> Result<usize, Status> {
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        bytes += frame?.into_data().map_or(0, |data| data.len());
    }
    Ok(bytes)
}

fn respond(mut respond: server::SendResponse<Bytes>) {
    respond.send_response(Response::new(()), true).unwrap();
}

/// A server that hands its calls over, each with the number of its connection.
struct Server {
    calls: mpsc::UnboundedReceiver<(usize, Accepted)>,
    /// Numbers of connections that have ended.
    ended: mpsc::UnboundedReceiver<usize>,
    tasks: JoinSet<()>,
}

impl Server {
    fn on(listener: TcpListener, builder: &server::Builder) -> Self {
        let builder = builder.clone();
        let (call, calls) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (builder, call, end) = (builder.clone(), call.clone(), end.clone());
                connections.spawn(async move {
                    let mut connection = builder.handshake(stream).await.unwrap();
                    while let Some(Ok(accepted)) = connection.accept().await {
                        let _ = call.send((number, accepted));
                    }
                    let _ = end.send(number);
                });
            }
        });
        Self {
            calls,
            ended,
            tasks,
        }
    }

    async fn start() -> (Self, Pool) {
        let (listener, endpoint) = listen().await;
        let server = Self::on(listener, &server::Builder::new());
        (server, Pool::lazy(&endpoint))
    }

    async fn next(&mut self) -> (usize, Accepted) {
        soon("a call", self.calls.recv()).await.unwrap()
    }
}

#[tokio::test]
async fn calls_spread_over_as_many_connections_as_they_need() {
    let (mut server, pool) = Server::start().await;
    let count = 2 * MAX_CALLS_PER_CONNECTION + 1;
    let calls: Vec<_> = (0..count)
        .map(|_| begin(&pool, request(message())))
        .collect();
    let mut accepted = Vec::new();
    for _ in 0..count {
        accepted.push(server.next().await);
    }
    let mut on = [0; 3];
    for (connection, _) in &accepted {
        on[*connection] += 1;
    }
    on.sort_unstable();
    assert_eq!(on, [1, MAX_CALLS_PER_CONNECTION, MAX_CALLS_PER_CONNECTION]);
    for (_, (_, answer)) in accepted {
        respond(answer);
    }
    for call in calls {
        let response = soon("an answer", call).await.unwrap().unwrap();
        assert_eq!(length(response).await.unwrap(), 0);
    }
    // One spare connection stays, one is closed when the next call finds it idle.
    let call = begin(&pool, request(message()));
    let (_, (_, answer)) = server.next().await;
    respond(answer);
    soon("an answer", call).await.unwrap().unwrap();
    soon("an end", server.ended.recv()).await.unwrap();
    assert!(server.ended.try_recv().is_err());
}

#[tokio::test]
async fn a_call_beyond_all_connections_is_refused_and_has_not_run() {
    let (mut server, pool) = Server::start().await;
    let most = MAX_CONNECTIONS * MAX_CALLS_PER_CONNECTION;
    let mut calls = JoinSet::new();
    for _ in 0..most {
        let pool = pool.clone();
        calls.spawn(async move { send(&pool, request(message())).await });
    }
    let mut accepted = Vec::new();
    for _ in 0..most {
        accepted.push(server.next().await);
    }
    let status = send(&pool, request(message())).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(never_ran(&status));
    // Room for one makes room for one.
    let (_, (_, answer)) = accepted.pop().unwrap();
    respond(answer);
    let answered = soon("an answer", calls.join_next()).await.unwrap();
    answered.unwrap().unwrap();
    calls.spawn(async move { send(&pool, request(message())).await });
    server.next().await;
}

#[tokio::test]
async fn a_call_whose_request_nobody_asks_for_is_given_up_and_never_sent() {
    let (listener, endpoint) = listen().await;
    let mut server = Server::on(listener, server::Builder::new().max_concurrent_streams(1));
    let pool = Pool::lazy(&endpoint);
    let first = begin(&pool, request(message()));
    let (_, (_, answer)) = server.next().await;
    let begun = Instant::now();
    let status = soon("an end", send(&pool, request(message())))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(never_ran(&status), "{status:?}");
    assert!(begun.elapsed() >= HANDOVER_TIMEOUT);
    // Now there is room for it: its stream is opened, and brings nothing.
    respond(answer);
    soon("an answer", first).await.unwrap().unwrap();
    let third = begin(&pool, request(message()));
    loop {
        let (_, (call, answer)) = server.next().await;
        match rest(call.into_body()).await {
            Ok(bytes) => {
                assert_eq!(bytes, 5);
                break respond(answer);
            }
            Err(error) => assert_eq!(error.reason(), Some(Reason::CANCEL)),
        }
    }
    soon("an answer", third).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_is_never_sent_twice() {
    let (listener, endpoint) = listen().await;
    let pool = Pool::lazy(&endpoint);
    // The peer reads the call, and closes the connection.
    let call = begin(&pool, request(message()));
    let (stream, _) = listener.accept().await.unwrap();
    let mut connection = server::handshake(stream).await.unwrap();
    let (request_, answer) = soon("a call", connection.accept()).await.unwrap().unwrap();
    drop((request_, answer, connection));
    let status = soon("its end", call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(!never_ran(&status), "it may have run: {status:?}");
    // The next call is the first that is heard of afterwards.
    let next = Request::post("/next").body(message()).unwrap();
    let next = begin(&pool, next);
    let mut server = Server::on(listener, &server::Builder::new());
    let (_, (request, answer)) = server.next().await;
    assert_eq!(request.uri().path(), "/next");
    respond(answer);
    soon("an answer", next).await.unwrap().unwrap();
    assert!(server.calls.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_that_ended_idle_is_opened_again_for_the_next_call() {
    let (listener, endpoint) = listen().await;
    let pool = Pool::lazy(&endpoint);
    for _ in 0..3 {
        let call = begin(&pool, request(message()));
        let (stream, _) = soon("a connection", listener.accept()).await.unwrap();
        let mut connection = server::handshake(stream).await.unwrap();
        let (_, answer) = soon("a call", connection.accept()).await.unwrap().unwrap();
        respond(answer);
        connection.graceful_shutdown();
        // To its end, which is the client's.
        assert!(soon("its end", connection.accept()).await.is_none());
        soon("an answer", call).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_refused_stream_has_not_run() {
    let (mut server, pool) = Server::start().await;
    let (messages, body) = messages(1);
    messages.try_send(Bytes::from_static(b"hello")).unwrap();
    let call = begin(&pool, request(body));
    let (_, (_request, mut answer)) = server.next().await;
    answer.send_reset(Reason::REFUSED_STREAM);
    let status = soon("its end", call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(never_ran(&status), "{status:?}");
    // Its request is let go of, too.
    soon("the end of its request", messages.closed()).await;
    // Any other reset says nothing of that.
    for (reason, code) in [
        (Reason::CANCEL, Code::Cancelled),
        (Reason::INTERNAL_ERROR, Code::Internal),
        (Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
    ] {
        let call = begin(&pool, request(message()));
        let (_, (_request, mut answer)) = server.next().await;
        answer.send_reset(reason);
        let status = soon("its end", call).await.unwrap().unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(!never_ran(&status), "{status:?}");
    }
}

/// Reads frames until that of the headers of the next stream, and answers with its number.
async fn headers(peer: &mut TcpStream) -> u32 {
    const HEADERS: u8 = 1;
    loop {
        let mut header = [0; 9];
        peer.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        peer.read_exact(&mut payload).await.unwrap();
        if header[3] == HEADERS {
            let stream = header[5..].try_into().unwrap();
            return u32::from_be_bytes(stream);
        }
    }
}

#[tokio::test]
async fn a_goaway_has_not_run_what_is_behind_its_last_stream_and_goes_on_with_the_rest() {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // The last stream is 1; NO_ERROR, then an error.
    for code in [0, 2] {
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, code];
        let (listener, endpoint) = listen().await;
        let pool = Pool::lazy(&endpoint);
        let first = begin(&pool, request(message()));
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.write_all(&SETTINGS).await.unwrap();
        peer.read_exact(&mut [0; 24]).await.unwrap();
        assert_eq!(soon("the first", headers(&mut peer)).await, 1);
        let second = begin(&pool, request(message()));
        assert_eq!(soon("the second", headers(&mut peer)).await, 3);
        peer.write_all(&goaway).await.unwrap();
        let status = soon("the second's end", second).await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(never_ran(&status), "{status:?}");
        if code == 0 {
            // HEADERS with END_HEADERS: `:status: 200`.
            let answer = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
            peer.write_all(&answer).await.unwrap();
            let response = soon("an answer", first).await.unwrap().unwrap();
            drop(peer);
            let status = length(response).await.unwrap_err();
            assert!(!never_ran(&status), "{status:?}");
        } else {
            // Lost as any that a connection takes with it.
            drop(peer);
            let status = soon("the first's end", first).await.unwrap().unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            assert!(!never_ran(&status), "{status:?}");
        }
    }
}

#[tokio::test]
async fn a_call_whose_request_goes_on_is_cancelled_with_its_response() {
    let (mut server, pool) = Server::start().await;
    let (messages, body) = messages(1);
    messages.try_send(Bytes::from_static(b"hello")).unwrap();
    let call = begin(&pool, request(body));
    let (_, (request, mut answer)) = server.next().await;
    let _body = answer.send_response(Response::new(()), false).unwrap();
    drop(soon("the headers", call).await.unwrap().unwrap());
    let ended = soon("its end", rest(request.into_body())).await;
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::CANCEL));
    soon("the end of its request", messages.closed()).await;
}

#[tokio::test]
async fn a_call_that_is_given_up_before_its_headers_is_cancelled() {
    let (mut server, pool) = Server::start().await;
    let (messages, body) = messages(1);
    messages.try_send(Bytes::from_static(b"hello")).unwrap();
    let call = begin(&pool, request(body));
    let (_, (request, _answer)) = server.next().await;
    call.abort();
    let ended = soon("its end", rest(request.into_body())).await;
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::CANCEL));
    soon("the end of its request", messages.closed()).await;
}

#[tokio::test]
async fn a_callers_deadline_ends_its_call_before_and_after_the_headers() {
    let (mut server, pool) = Server::start().await;
    let with_deadline = || {
        let (messages, body) = messages(1);
        messages.try_send(Bytes::from_static(b"hello")).unwrap();
        let mut request = request(body);
        let timeout = http::HeaderValue::from_static("300m");
        request.headers_mut().insert("grpc-timeout", timeout);
        (messages, request)
    };
    let (_messages, request) = with_deadline();
    let call = begin(&pool, request);
    let (_, (request, _answer)) = server.next().await;
    assert_eq!(request.headers()["grpc-timeout"], "300m");
    let status = soon("its end", call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(!never_ran(&status));
    let ended = soon("its end", rest(request.into_body())).await;
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::CANCEL));

    let (messages, request) = with_deadline();
    let call = begin(&pool, request);
    let (_, (request, mut answer)) = server.next().await;
    let _body = answer.send_response(Response::new(()), false).unwrap();
    let response = soon("the headers", call).await.unwrap().unwrap();
    let status = soon("its end", length(response)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    let ended = soon("its end", rest(request.into_body())).await;
    assert_eq!(ended.unwrap_err().reason(), Some(Reason::CANCEL));
    soon("the end of its request", messages.closed()).await;
}

#[tokio::test]
async fn a_deadline_that_passes_while_nobody_asks_for_the_request_has_run_nothing() {
    let (listener, endpoint) = listen().await;
    let mut server = Server::on(listener, server::Builder::new().max_concurrent_streams(1));
    let pool = Pool::lazy(&endpoint);
    let _first = begin(&pool, request(message()));
    let _accepted = server.next().await;
    let mut second = request(message());
    let timeout = http::HeaderValue::from_static("100m");
    second.headers_mut().insert("grpc-timeout", timeout);
    let status = soon("its end", send(&pool, second)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(never_ran(&status));
}

/// Sends `frame` again and again, as long as the peer takes it.
async fn flood(mut body: h2::SendStream<Bytes>, frame: Bytes) {
    loop {
        body.reserve_capacity(frame.len());
        match poll_fn(|cx| body.poll_capacity(cx)).await {
            Some(Ok(capacity)) if capacity >= frame.len() => {
                if body.send_data(frame.clone(), false).is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

#[tokio::test]
async fn pitfall_57_any_number_of_cancelled_calls_ends_no_other() {
    const CALLS: usize = 3000;
    let (mut server, pool) = Server::start().await;
    let other = begin(&pool, request(message()));
    let (number, (_, answer)) = server.next().await;
    let other_answer = (number, answer);
    for _ in 0..CALLS {
        let call = begin(&pool, request(message()));
        let (number, (_, mut answer)) = server.next().await;
        assert_eq!(number, other_answer.0, "the same connection");
        let body = answer.send_response(Response::new(()), false).unwrap();
        server
            .tasks
            .spawn(flood(body, Bytes::from_static(&[0; 1024])));
        drop(soon("the headers", call).await.unwrap().unwrap());
    }
    respond(other_answer.1);
    soon("an answer", other).await.unwrap().unwrap();
}

#[tokio::test]
async fn pitfall_65_calls_that_nobody_reads_hold_up_no_other_and_end_no_connection() {
    // As many as one connection has, but the one that goes on.
    const UNREAD: usize = MAX_CALLS_PER_CONNECTION - 1;
    const SMALL_FRAMES: usize = 5000;
    let (mut server, pool) = Server::start().await;
    let mut unread = Vec::new();
    for index in 0..UNREAD {
        let call = begin(&pool, request(message()));
        let (number, (_, mut answer)) = server.next().await;
        assert_eq!(number, 0);
        let mut body = answer.send_response(Response::new(()), false).unwrap();
        unread.push(soon("the headers", call).await.unwrap().unwrap());
        if index % 2 == 0 {
            // All that its window takes.
            let window = STREAM_WINDOW_BYTES as usize;
            body.send_data(vec![0; window].into(), false).unwrap();
        } else {
            for _ in 0..SMALL_FRAMES {
                body.send_data(Bytes::from_static(&[0; 32]), false).unwrap();
            }
        }
        server.tasks.spawn(async move {
            poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
        });
    }
    let call = begin(&pool, request(message()));
    let (number, (_, mut answer)) = server.next().await;
    assert_eq!(number, 0);
    let mut body = answer.send_response(Response::new(()), false).unwrap();
    let bytes = 4 * STREAM_WINDOW_BYTES as usize;
    body.send_data(vec![0; bytes].into(), true).unwrap();
    let response = soon("the headers", call).await.unwrap().unwrap();
    let read = soon("all of it", length(response)).await.unwrap();
    assert_eq!(read, bytes);
    assert!(server.ended.try_recv().is_err());
    drop(unread);
}

#[tokio::test]
async fn attempts_to_connect_have_a_pause_between_them() {
    let (listener, endpoint) = listen().await;
    let pool = Pool::lazy(&endpoint);
    let (stop, mut stopped) = oneshot::channel::<()>();
    let peer = tokio::spawn(async move {
        let mut accepted = 0;
        loop {
            tokio::select! {
                stream = listener.accept() => drop(stream.unwrap()),
                _ = &mut stopped => return accepted,
            }
            accepted += 1;
        }
    });
    let begun = Instant::now();
    let mut failed: u32 = 0;
    while begun.elapsed() < Duration::from_millis(500) {
        let status = send(&pool, request(message())).await.unwrap_err();
        assert!(never_ran(&status), "{status:?}");
        failed += 1;
    }
    stop.send(()).unwrap();
    let accepted: u32 = peer.await.unwrap();
    // 50, 100, 200 and 400 ms apart; a little more on a machine that is late.
    assert!((2..=8).contains(&accepted), "{accepted} connections");
    assert!(failed > accepted);
}

#[tokio::test]
async fn calls_made_together_share_one_connection() {
    let (mut server, pool) = Server::start().await;
    let calls: Vec<_> = (0..MAX_CALLS_PER_CONNECTION)
        .map(|_| begin(&pool, request(message())))
        .collect();
    let calls = Arc::new(calls);
    for _ in 0..calls.len() {
        let (number, (_, answer)) = server.next().await;
        assert_eq!(number, 0);
        respond(answer);
    }
}

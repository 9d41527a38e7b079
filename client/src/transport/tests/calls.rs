//! One call: that it is sent once, how it ends, and what is known of it then.

use bytes::Bytes;
use h2::{Reason, server};
use http::{HeaderValue, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tonic::Code;

use super::{Server, begin, length, listen, message, messages, request, respond, rest, send, soon};
use crate::transport::{Pool, call::HANDOVER_TIMEOUT, never_ran};

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
        let timeout = HeaderValue::from_static("300m");
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
    let timeout = HeaderValue::from_static("100m");
    second.headers_mut().insert("grpc-timeout", timeout);
    let status = soon("its end", send(&pool, second)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert!(never_ran(&status));
}

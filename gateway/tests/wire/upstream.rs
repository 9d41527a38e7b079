//! Servers that refuse, that are away, that are lost in the middle. The reply says which, in the client's own wire.

use std::{io, time::Duration};

use remex_client::{Client, Endpoint};
use remex_gateway::limits::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use crate::{
    fake::{self, Fake},
    site::{Site, ask_udp},
};

const URL: &str = "tcp://127.0.0.1:0/exec";

#[tokio::test]
async fn what_cannot_run_has_the_shells_code() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    let reply = peer.ask("refuse").await;
    assert_eq!(reply.text(), "remex: there is no program `nope`\n");
    assert_eq!(reply.header["exit_code"], 127);
    assert_eq!(reply.header["stderr_size"], reply.body.len());
    assert_eq!(peer.ask("out a").await.text(), "a");
}

#[tokio::test]
async fn what_is_lost_is_unknown_and_never_repeated() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    let reply = peer.ask("lose").await;
    let text =
        "remex: whether the command ran is not known: the connection to the server was lost\n";
    assert_eq!(reply.text(), text);
    assert!(reply.header["exit_code"].is_null());
    let reply = peer.ask("out some;cut").await;
    let text =
        "some\nremex: how the command ended is not known: the connection to the server was lost\n";
    assert_eq!(reply.text(), text);
    assert!(reply.header["exit_code"].is_null());
    assert_eq!(reply.header["execution_id"], fake::ID);
    assert_eq!(site.fake.asked().len(), 2);
}

#[tokio::test]
async fn a_server_that_is_away_is_told_in_every_wire() {
    // Bound, so that nobody else gets the port meanwhile, and not listening.
    let nobody = TcpSocket::new_v4().unwrap();
    nobody.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint: Endpoint = format!("http://{}", nobody.local_addr().unwrap())
        .parse()
        .unwrap();
    let client = Client::connect_lazy(&endpoint);
    let site = Site::of(URL, Limits::default(), Fake::new(), client.clone());
    let mut peer = site.connect().await;
    for _ in 0..2 {
        let reply = peer.ask("out a").await;
        let text = format!("remex: cannot connect to {endpoint}");
        assert!(reply.text().starts_with(&text), "{}", reply.text());
    }
    let site = Site::of(
        "tcp://127.0.0.1:0/echo",
        Limits::default(),
        Fake::new(),
        client,
    );
    let mut peer = site.connect().await;
    peer.send("hello").await;
    assert!(peer.rest().await.starts_with(b"remex: cannot connect to "));
}

/// Answers each call, on as many connections as come, with these frames of HTTP/2 and nothing more: no server of gRPC's.
/// The frames name the stream as 0; the call's own number stands in for it.
async fn answer(listener: TcpListener, frames: &'static [&'static [u8]]) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // Until the client has gone.
        tokio::spawn(async move { answer_calls(stream, frames).await });
    }
}

async fn answer_calls(mut stream: TcpStream, frames: &[&[u8]]) -> io::Result<()> {
    const PREFACE_BYTES: usize = 24;
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    const HEADER_BYTES: usize = 9;
    /// Where a frame's header names its stream.
    const STREAM: std::ops::Range<usize> = 5..9;
    stream.write_all(&SETTINGS).await?;
    stream.read_exact(&mut [0; PREFACE_BYTES]).await?;
    loop {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).await?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        if header[3] != HEADERS {
            continue;
        }
        for frame in frames {
            let mut frame = frame.to_vec();
            frame[STREAM].copy_from_slice(&header[STREAM]);
            stream.write_all(&frame).await?;
        }
    }
}

/// A gateway at `url` whose server answers with `frames`.
async fn answered_with(url: &str, limits: Limits, frames: &'static [&'static [u8]]) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(answer(listener, frames));
    Site::of(url, limits, Fake::new(), Client::connect_lazy(&endpoint))
}

#[tokio::test]
async fn what_http2_refuses_is_known_not_to_have_run() {
    /// RST_STREAM, REFUSED_STREAM.
    const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let site = answered_with(URL, Limits::default(), &[REFUSED]).await;
    let mut peer = site.connect().await;
    let reply = peer.ask("out a").await;
    let text = "remex: the server refused the call before it looked at it; try again\n";
    assert_eq!(reply.text(), text);
    assert!(reply.header["exit_code"].is_null());
}

/// HEADERS without the stream's end, of `:status 999`, of `:status 103` and of `:status 200`.
const STATUS_999: &[u8] = b"\0\0\x05\x01\x04\0\0\0\0\x08\x03999";
const STATUS_103: &[u8] = b"\0\0\x05\x01\x04\0\0\0\0\x08\x03103";
const STATUS_200: &[u8] = b"\0\0\x01\x01\x04\0\0\0\0\x88";
/// DATA: a message of 16 bytes begins, and does not go on.
const BEGINNING: &[u8] = b"\0\0\x05\0\0\0\0\0\0\0\0\0\0\x10";
/// Answers that never end, and say nothing of the call.
const UNENDING: [&[&[u8]]; 6] = [
    &[],
    &[STATUS_999],
    &[STATUS_999, BEGINNING],
    &[STATUS_103, STATUS_103],
    &[STATUS_200],
    &[STATUS_200, BEGINNING],
];

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up() {
    const STATED: Duration = Duration::from_millis(100);
    assert_eq!(Limits::default().start_wait, Duration::from_secs(30));
    for frames in UNENDING {
        let limits = Limits {
            start_wait: STATED,
            ..Limits::default()
        };
        let site = answered_with(URL, limits.clone(), frames).await;
        let mut peer = site.connect().await;
        // The connection to the server is as good as before for the next.
        for _ in 0..2 {
            let reply = peer.ask("out a").await;
            let text = "remex: whether the command ran is not known: the server did not answer within 100ms\n";
            assert_eq!(reply.text(), text, "{frames:?}");
            assert!(reply.header["exit_code"].is_null());
        }
        let site = answered_with("udp://127.0.0.1:0/exec", limits.clone(), frames).await;
        let reply = ask_udp(&site.udp().await, "out a").await;
        assert!(reply.ends_with(b"the server did not answer within 100ms\n"));
        let site = answered_with("tcp://127.0.0.1:0/echo", limits, frames).await;
        let mut peer = site.connect().await;
        peer.send("hello").await;
        let text = b"remex: the server did not answer within 100ms\n";
        assert_eq!(peer.rest().await, text, "{frames:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let limits = Limits {
        start_wait: Duration::from_millis(30),
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    let reply = site.connect().await.ask("silence").await;
    let text =
        "remex: whether the command ran is not known: the server did not answer within 30ms\n";
    assert_eq!(reply.text(), text);
    assert!(reply.header["exit_code"].is_null());
}

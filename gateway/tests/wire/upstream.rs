//! Servers that refuse, that are away, that are lost in the middle. The reply says which, in the client's own wire.

use remex_client::{Client, Endpoint};
use remex_gateway::limits::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    fake::{self, Fake},
    site::Site,
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
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint: Endpoint = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(listener);
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

/// Refuses its first call, as a server does that has no room: in HTTP/2, without a word of gRPC.
async fn refuse(listener: TcpListener) {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    /// RST_STREAM of the first stream, REFUSED_STREAM.
    const REFUSED: [u8; 13] = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(&SETTINGS).await.unwrap();
    stream.read_exact(&mut [0; 24]).await.unwrap();
    let mut header = [0; 9];
    while header[3] != HEADERS {
        stream.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
    }
    stream.write_all(&REFUSED).await.unwrap();
    // Until the client has gone.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn what_http2_refuses_is_known_not_to_have_run() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint: Endpoint = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let server = tokio::spawn(refuse(listener));
    let client = Client::connect_lazy(&endpoint);
    let site = Site::of(URL, Limits::default(), Fake::new(), client);
    let mut peer = site.connect().await;
    let reply = peer.ask("out a").await;
    let text = "remex: the server refused the call before it looked at it; try again\n";
    assert_eq!(reply.text(), text);
    assert!(reply.header["exit_code"].is_null());
    server.abort();
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let limits = Limits {
        start_wait: std::time::Duration::from_millis(30),
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    let reply = site.connect().await.ask("silence").await;
    let text =
        "remex: whether the command ran is not known: the server did not answer within 30ms\n";
    assert_eq!(reply.text(), text);
    assert!(reply.header["exit_code"].is_null());
}

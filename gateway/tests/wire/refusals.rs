//! What a gateway must refuse, and how it says so.

use std::time::Duration;

use remex_gateway::limits::Limits;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::site::{Site, soon};

const URL: &str = "tcp://127.0.0.1:0/exec";

#[tokio::test]
async fn other_protocols_get_nothing_and_run_nothing() {
    let site = Site::start(URL);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n"[..],
        b"echo /;touch${IFS}x HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ] {
        let mut peer = site.connect().await;
        peer.send(bytes).await;
        peer.reset().await;
    }
    // Not only as the first thing.
    let mut peer = site.connect().await;
    assert_eq!(peer.ask("out a").await.text(), "a");
    peer.send("POST /x HTTP/1.1\r\n\r\nout b").await;
    peer.reset().await;
    assert_eq!(site.fake.asked().len(), 1);
}

#[tokio::test]
async fn echo_does_not_reflect_a_request() {
    let site = Site::start("tcp://127.0.0.1:0/echo");
    let mut peer = site.connect().await;
    peer.send("hello").await;
    assert_eq!(peer.exactly(5).await, b"HELLO");
    // Nor as a later message, nor in pieces.
    peer.send("GET /<script>").await;
    assert!(!silent(&peer.stream).await);
    peer.send(" HTTP/1.1\r\n\r\n").await;
    peer.reset().await;
}

/// Enough for a piece to be seen by itself.
const ASIDE: Duration = Duration::from_millis(30);

/// Gives what was sent time to be seen by itself; no answer may come back. Whether the connection was reset.
async fn silent(stream: &TcpStream) -> bool {
    match timeout(ASIDE, stream.peek(&mut [0])).await {
        Err(_) => false,
        Ok(Err(_)) => true,
        Ok(Ok(count)) => panic!("{count} bytes came back"),
    }
}

/// PITFALLS: a guard that sees pieces.
#[tokio::test]
async fn no_piece_of_a_request_runs() {
    let site = Site::start(URL);
    let request = |method: &str| {
        let line = format!(
            "{method} /?;touch${{IFS}}F;:{} HTTP/1.1\r\n",
            "A".repeat(20_000)
        );
        line + "Host: localhost\r\n\r\nout body"
    };
    for (request, size) in [
        (request("GET"), 4096),
        (request("GET"), 1),
        (request("GET"), 20_050),
        (request("out"), 4096),
        (request("out"), 1024),
        ("POST /x HTTP/1.1\r\n\r\nout body".to_owned(), 3),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 2),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}".to_owned(), 1),
        ("SSH-2.0-OpenSSH_9.6\r\n".to_owned(), 1),
    ] {
        let mut peer = site.connect().await;
        let pieces: Vec<_> = request.as_bytes().chunks(size).collect();
        let mut was_reset = false;
        for (index, piece) in pieces.iter().enumerate() {
            // The reset is told once, by whatever is done first.
            was_reset = was_reset || peer.stream.write_all(piece).await.is_err();
            if was_reset {
                break;
            }
            if index < 3 || index + 3 > pieces.len() {
                was_reset = silent(&peer.stream).await;
            }
        }
        if !was_reset {
            peer.reset().await;
        }
    }
    // Whose rest does not come in time is refused as well.
    let limits = Limits {
        piece_wait: ASIDE,
        ..Limits::default()
    };
    let late = Site::with(URL, limits);
    let mut peer = late.connect().await;
    peer.send("GET /?;touch${IFS}F").await;
    peer.reset().await;
    assert!(site.fake.asked().is_empty() && late.fake.asked().is_empty());
}

#[tokio::test]
async fn the_rest_of_a_request_that_began_as_a_command_does_not_run() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    assert_eq!(peer.ask("out a").await.text(), "a");
    peer.send(" HTTP/1.1\r\n\r\nout body").await;
    peer.reset().await;
    assert_eq!(site.fake.asked().len(), 1);
}

#[tokio::test]
async fn a_long_word_is_a_command_when_nothing_follows() {
    let limits = Limits {
        piece_wait: ASIDE,
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    let text = "y".repeat(3000);
    let mut peer = site.connect().await;
    assert_eq!(peer.ask(&format!("out {text}")).await.text(), text);
}

#[tokio::test]
async fn what_is_no_command_is_told_why_and_ends_the_connection() {
    let site = Site::start(URL);
    let long = "x".repeat(64 * 1024 + 1);
    let longer = "x".repeat(3_000_000);
    for (bytes, why) in [
        (
            &b"out a\0b"[..],
            "remex: the command contains a NUL byte; nothing was run\n",
        ),
        (
            b"out \xff",
            "remex: the command is not UTF-8; set `charset`",
        ),
        (
            long.as_bytes(),
            "remex: the command is longer than 65536 bytes",
        ),
        (
            longer.as_bytes(),
            "remex: the command is longer than 65536 bytes",
        ),
    ] {
        let mut peer = site.connect().await;
        peer.send(bytes).await;
        let reply = peer.reply().await;
        assert!(reply.text().starts_with(why), "{}", reply.text());
        assert!(reply.header["exit_code"].is_null());
        assert_eq!(reply.header["execution_id"], "");
        peer.end().await;
    }
    assert!(site.fake.asked().is_empty());
}

#[tokio::test]
async fn commands_beyond_the_limit_are_told_so() {
    let limits = Limits {
        running_commands: 1,
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    let mut first = site.connect().await;
    first.send("wait").await;
    soon(site.fake.running(1)).await;
    let mut second = site.connect().await;
    let reply = second.ask("out a").await;
    assert!(
        reply.text().contains("1 commands are running"),
        "{}",
        reply.text()
    );
    drop(first);
    soon(site.fake.running(0)).await;
    // The permit is given back a moment after the command is gone.
    while second.ask("out a").await.text() != "a" {}
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    let mut first = site.connect().await;
    assert_eq!(first.ask("out a").await.text(), "a");
    let mut second = site.connect().await;
    second.send("out b").await;
    assert_eq!(first.ask("out c").await.text(), "c");
    assert_eq!(site.fake.asked().len(), 2);
    drop(first);
    assert_eq!(second.reply().await.text(), "b");
}

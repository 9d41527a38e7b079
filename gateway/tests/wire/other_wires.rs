//! The wires beside `json-header`, and echo.

use std::time::Instant;

use remex_gateway::limits::Limits;

use crate::site::{Site, soon};

#[tokio::test]
async fn length_in_both_byte_orders() {
    for (url, length) in [
        ("tcp://127.0.0.1:0/exec?wire=length", [5, 0, 0, 0]),
        (
            "tcp://127.0.0.1:0/exec?wire=length&endian=big",
            [0, 0, 0, 5],
        ),
    ] {
        let site = Site::start(url);
        let mut peer = site.connect().await;
        for _ in 0..2 {
            peer.send("err 345;out 12").await;
            assert_eq!(peer.exactly(4).await, length);
            assert_eq!(peer.exactly(5).await, b"12345");
        }
        peer.send("exit 1").await;
        assert_eq!(peer.exactly(4).await, [0; 4]);
    }
}

#[tokio::test]
async fn ascii_length_waits_for_an_acknowledgement() {
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=ascii-length");
    let mut peer = site.connect().await;
    for _ in 0..3 {
        peer.send("out hello;err  world").await;
        assert_eq!(peer.some().await, b"11");
        peer.send("whatever you say").await;
        assert_eq!(peer.exactly(11).await, b"hello world");
    }
    peer.send("exit 0").await;
    assert_eq!(peer.some().await, b"0");
}

#[tokio::test]
async fn what_came_before_the_length_is_no_acknowledgement() {
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=ascii-length");
    let mut peer = site.connect().await;
    peer.send("hold;out hello").await;
    soon(site.fake.running(1)).await;
    peer.send("out next").await;
    site.fake.release();
    assert_eq!(peer.some().await, b"5");
    peer.send("ack").await;
    assert_eq!(peer.exactly(5).await, b"hello");
    assert_eq!(peer.some().await, b"4");
    peer.send("ack").await;
    assert_eq!(peer.some().await, b"next");
}

/// A client whose body is empty waits for nothing: the two may arrive as one.
#[tokio::test]
async fn a_command_right_behind_an_acknowledgement_is_no_part_of_it() {
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=ascii-length");
    let mut peer = site.connect().await;
    peer.send("out abc").await;
    assert_eq!(peer.some().await, b"3");
    peer.send("准备好了").await;
    assert_eq!(peer.exactly(3).await, b"abc");
    for _ in 0..2 {
        peer.send("exit 0").await;
        assert_eq!(peer.some().await, b"0");
        peer.send("准备好了out next").await;
        assert_eq!(peer.some().await, b"4");
        peer.send("准备好了").await;
        assert_eq!(peer.exactly(4).await, b"next");
    }
}

#[tokio::test]
async fn one_that_has_half_closed_cannot_acknowledge() {
    use tokio::io::AsyncWriteExt;
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=ascii-length");
    let mut peer = site.connect().await;
    peer.send("out abc").await;
    peer.stream.shutdown().await.unwrap();
    assert_eq!(peer.rest().await, b"3abc");
}

#[tokio::test]
async fn ascii_length_with_a_pause() {
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=ascii-length&ack=pause");
    let mut peer = site.connect().await;
    peer.send("out hello").await;
    assert_eq!(peer.some().await, b"5");
    let begin = Instant::now();
    assert_eq!(peer.some().await, b"hello");
    assert!(
        begin.elapsed() >= Limits::DEFAULT.ack_pause / 2,
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn raw_is_output_alone_and_never_nothing() {
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=raw");
    let mut peer = site.connect().await;
    for (command, reply) in [
        ("out hello\n", "hello"),
        ("exit 3", "(no output, exit code 3)\n"),
        (" \n", "(no output, exit code 0)\n"),
        (
            "signal 9",
            "[remex: the command was ended by signal SIGKILL]\n",
        ),
        ("refuse", "remex: there is no program `nope`\n"),
    ] {
        peer.send(command).await;
        assert_eq!(peer.some().await, reply.as_bytes(), "{command}");
    }
}

#[tokio::test]
async fn echo_sends_every_byte_back() {
    let site = Site::start("tcp://127.0.0.1:0/echo");
    let mut peer = site.connect().await;
    peer.send("hello äß\n").await;
    assert_eq!(peer.exactly(11).await, "HELLO äß\n".as_bytes());
    let text = "a".repeat(300_000);
    let (mut reader, mut writer) = tokio::io::split(peer.stream);
    let writing = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        writer.write_all(text.as_bytes()).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    soon(tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut back))
        .await
        .unwrap();
    writing.await.unwrap();
    assert_eq!(back, b"A".repeat(300_000));
}

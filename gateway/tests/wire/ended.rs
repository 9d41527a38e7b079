//! A command that did not end by itself never looks like success. PITFALLS: a killed command on a wire without a status.

use crate::site::{Site, ask_udp};

const WAYS: [(&str, &str); 4] = [
    ("out some;timeout", "its timeout"),
    ("out some;signal 9", "signal SIGKILL"),
    ("out some;signal 37", "signal SIGRTMIN+3"),
    ("out some;shutdown", "the server's shutdown"),
];

fn told(why: &str) -> String {
    format!("some\n[remex: the command was ended by {why}]\n")
}

#[tokio::test]
async fn wires_without_a_status_say_so_in_a_last_line() {
    let raw = Site::start("tcp://127.0.0.1:0/exec?wire=raw");
    let length = Site::start("tcp://127.0.0.1:0/exec?wire=length");
    let ascii = Site::start("tcp://127.0.0.1:0/exec?wire=ascii-length");
    let udp = Site::start("udp://127.0.0.1:0/exec");
    let (mut raw, mut length, mut ascii) = (
        raw.connect().await,
        length.connect().await,
        ascii.connect().await,
    );
    let udp = udp.udp().await;
    for (command, why) in WAYS {
        let expected = told(why);
        raw.send(command).await;
        assert_eq!(raw.exactly(expected.len()).await, expected.as_bytes());
        length.send(command).await;
        let size = length.int32().await;
        assert_eq!(length.exactly(size).await, expected.as_bytes());
        ascii.send(command).await;
        assert_eq!(ascii.some().await, expected.len().to_string().as_bytes());
        ascii.send("ok").await;
        assert_eq!(ascii.exactly(expected.len()).await, expected.as_bytes());
        assert_eq!(ask_udp(&udp, command).await, expected.as_bytes());
    }
}

#[tokio::test]
async fn a_header_says_it_and_the_body_does_not() {
    let site = Site::start("tcp://127.0.0.1:0/exec");
    let mut peer = site.connect().await;
    for (command, _) in WAYS {
        let reply = peer.ask(command).await;
        assert_eq!(reply.text(), "some");
        assert!(reply.header["exit_code"].is_null());
    }
}

#[tokio::test]
async fn output_that_a_shutdown_cut_is_told_in_every_body() {
    let command = "out some;output-cut";
    let expected = "some\n[remex: output cut: the server shuts down]\n";
    let site = Site::start("tcp://127.0.0.1:0/exec");
    let reply = site.connect().await.ask(command).await;
    assert_eq!(reply.text(), expected);
    assert!(reply.header["exit_code"].is_null());
    for (wire, head) in [
        ("raw", &b""[..]),
        ("raw&reply_end=0x04", b""),
        ("length", b"\x30\0\0\0"),
        ("length&endian=big", b"\0\0\0\x30"),
        ("ascii-length", b"48"),
        ("ascii-length&ack=pause", b"48"),
    ] {
        let site = Site::start(&format!("tcp://127.0.0.1:0/exec?wire={wire}"));
        let mut peer = site.connect().await;
        peer.send(command).await;
        assert_eq!(peer.exactly(head.len()).await, head, "{wire}");
        if wire == "ascii-length" {
            peer.send("ok").await;
        }
        let body = peer.exactly(expected.len()).await;
        assert_eq!(body, expected.as_bytes(), "{wire}");
    }
    let site = Site::start("udp://127.0.0.1:0/exec");
    let reply = ask_udp(&site.udp().await, command).await;
    assert_eq!(reply, expected.as_bytes());
}

#[tokio::test]
async fn a_cut_is_the_last_of_all() {
    let site = Site::start("udp://127.0.0.1:0/exec?max_datagram=128");
    let reply = ask_udp(&site.udp().await, "fill 1000;timeout").await;
    let text = String::from_utf8(reply).unwrap();
    assert!(
        text.len() <= 128 && text.ends_with(" of 1000 bytes]"),
        "{text}"
    );
    assert!(text.contains("\n[remex: the command was ended by its timeout]\n[remex: cut, "));
}

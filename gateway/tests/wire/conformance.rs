//! Each wire as it is on the wire: which bytes in which segments, and the same bytes for the client whatever a path does to
//! the segments.

use md5::{Digest, Md5};
use remex_gateway::{limits::Limits, wire::time::DEFAULT_FORMAT};

use crate::{
    path::{Manner, Path},
    site::{Site, ask_udp},
};

/// One command and its reply.
struct Row {
    url: &'static str,
    request: &'static [u8],
    /// The client acknowledges the first segment.
    acknowledges: bool,
    /// What the gateway sends.
    segments: Vec<Vec<u8>>,
}

impl Row {
    fn new(url: &'static str, request: &'static [u8], segments: &[&[u8]]) -> Self {
        Self {
            url,
            request,
            acknowledges: false,
            segments: segments.iter().map(|segment| segment.to_vec()).collect(),
        }
    }

    fn acknowledged(mut self) -> Self {
        self.acknowledges = true;
        self
    }
}

/// Length, header and body in one.
fn with_header(header: &str, body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(header.len()).unwrap().to_le_bytes();
    [&length, header.as_bytes(), body].concat()
}

fn rows() -> Vec<Row> {
    let hello = concat!(
        r#"{"total_size": 8, "md5": "924a543e3a70880ce2e921c962480517", "filename": "output.txt", "stdout_size": 5, "#,
        r#""stderr_size": 3, "exit_code": 3, "signal": null, "truncated": false, "execution_id": "0198-fake"}"#
    );
    let nothing = concat!(
        r#"{"data_size": 0, "md5": "d41d8cd98f00b204e9800998ecf8427e", "filename": "output.txt", "stdout_size": 0, "#,
        r#""stderr_size": 0, "exit_code": null, "signal": "SIGKILL", "truncated": false, "execution_id": "0198-fake"}"#
    );
    let gbk = concat!(
        r#"{"total_size": 4, "md5": "b94ae3c6d892b29cf48d9bea819b27b9", "filename": "output.txt", "stdout_size": 4, "#,
        r#""stderr_size": 0, "exit_code": 0, "signal": null, "truncated": false, "execution_id": "0198-fake"}"#
    );
    vec![
        Row::new(
            "tcp://127.0.0.1:0/exec",
            b"err err;out hello;exit 3",
            &[&with_header(hello, b"helloerr")],
        ),
        Row::new(
            "tcp://127.0.0.1:0/exec?size_key=data_size",
            b"signal 9",
            &[&with_header(nothing, b"")],
        ),
        Row::new(
            "tcp://127.0.0.1:0/exec?charset=gbk",
            b"out \xc4\xe3\xba\xc3",
            &[&with_header(gbk, b"\xc4\xe3\xba\xc3")],
        ),
        Row::new(
            "tcp://127.0.0.1:0/exec?wire=length",
            b"out hello\n",
            &[b"\x05\0\0\0hello"],
        ),
        Row::new(
            "tcp://127.0.0.1:0/exec?wire=length&endian=big",
            b"out hello",
            &[b"\0\0\0\x05hello"],
        ),
        Row::new("tcp://127.0.0.1:0/exec?wire=length", b" ", &[&[0; 4]]),
        Row::new(
            "tcp://127.0.0.1:0/exec?wire=ascii-length",
            b"out hello world",
            &[b"11", b"hello world"],
        )
        .acknowledged(),
        Row::new(
            "tcp://127.0.0.1:0/exec?wire=ascii-length&ack=pause",
            b"out hello",
            &[b"5", b"hello"],
        ),
        Row::new("tcp://127.0.0.1:0/exec?wire=raw", b"out hello", &[b"hello"]),
        Row::new(
            "tcp://127.0.0.1:0/exec?wire=raw",
            b"exit 4",
            &[b"(no output, exit code 4)\n"],
        ),
        Row::new(
            "tcp://[::1]:0/exec?wire=raw",
            b"refuse",
            &[b"remex: there is no program `nope`\n"],
        ),
        Row::new(
            "tcp://127.0.0.1:0/echo",
            "straße".as_bytes(),
            &["STRAßE".as_bytes()],
        ),
    ]
}

/// Asks twice over one connection, so that anything behind a body is seen.
async fn assert_conforms(row: &Row, manner: Manner) {
    let site = Site::start(row.url);
    let path = Path::new(manner, site.address()).await;
    let mut client = path.connect().await;
    let whole = row.segments.concat();
    for round in 1..=2 {
        client.send(row.request).await;
        if row.acknowledges {
            let first = client.exactly(row.segments[0].len()).await;
            client.send("any text").await;
            assert_eq!(first, row.segments[0]);
            let rest = client.exactly(whole.len() - first.len()).await;
            assert_eq!(rest, whole[first.len()..]);
        } else {
            let reply = client.exactly(whole.len()).await;
            assert_eq!(
                reply.escape_ascii().to_string(),
                whole.escape_ascii().to_string(),
                "{} {manner:?}",
                row.url
            );
        }
        let sent = path.sent();
        assert_eq!(sent.reads.len(), round * row.segments.len());
        let segments = u32::try_from(sent.reads.len()).unwrap();
        assert_eq!(sent.segments, segments, "{} {manner:?}", row.url);
        for (read, segment) in sent.reads.iter().zip(row.segments.iter().cycle()) {
            assert!(
                read == segment,
                "{} {manner:?}: {}",
                row.url,
                read.escape_ascii()
            );
        }
    }
}

#[tokio::test]
async fn every_wire_has_its_bytes_in_its_segments() {
    for row in rows() {
        let whole = row.segments.concat().len();
        for manner in [Manner::Split(1), Manner::Split(3), Manner::Delay] {
            assert_conforms(&row, manner).await;
        }
        if !row.acknowledges {
            assert_conforms(&row, Manner::Coalesce(whole)).await;
        }
    }
}

/// One more than fits in memory, so that it is spooled, and as much as does.
#[tokio::test]
async fn a_long_reply_begins_with_all_that_stands_before_its_body() {
    let in_memory = Limits::DEFAULT.memory_bytes;
    for bytes in [in_memory, in_memory + 1, 5_000_000] {
        let body = vec![b'x'; bytes];
        let md5: [u8; 16] = Md5::digest(&body).into();
        let header = format!(
            concat!(
                r#"{{"total_size": {}, "md5": "{:032x}", "filename": "output.txt", "stdout_size": {}, "stderr_size": 0, "#,
                r#""exit_code": 0, "signal": null, "truncated": false, "execution_id": "0198-fake"}}"#
            ),
            bytes,
            u128::from_be_bytes(md5),
            bytes
        );
        let length = i32::try_from(bytes).unwrap().to_le_bytes();
        for (url, head) in [
            ("tcp://127.0.0.1:0/exec", with_header(&header, b"")),
            ("tcp://127.0.0.1:0/exec?wire=length", length.to_vec()),
        ] {
            let site = Site::start(url);
            for manner in [
                Manner::Split(1021),
                Manner::Delay,
                Manner::Coalesce(1 << 20),
            ] {
                let path = Path::new(manner, site.address()).await;
                let mut client = path.connect().await;
                client.send(format!("fill {bytes}")).await;
                let whole = [&head[..], &body].concat();
                // What waits for more is sent at the end.
                tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
                    .await
                    .unwrap();
                assert!(client.rest().await == whole, "{url} {manner:?}");
                let sent = path.sent().reads;
                assert!(
                    sent[0].len() > head.len(),
                    "the head is not whole: {}",
                    sent[0].len()
                );
                assert!(sent.concat() == whole);
            }
        }
    }
}

#[tokio::test]
async fn every_datagram_is_answered_by_one() {
    let now = jiff::Zoned::now().strftime("%Y").to_string();
    for (url, request, expected) in [
        ("udp://127.0.0.1:0/exec", "err err;out hello", "helloerr"),
        (
            "udp://127.0.0.1:0/exec",
            "exit 4",
            "(no output, exit code 4)\n",
        ),
        ("udp://[::1]:0/echo", "straße", "STRAßE"),
        ("udp://127.0.0.1:0/time", "%Y", &*now),
        ("udp://127.0.0.1:0/exec?max_datagram=128", "fill 300", ""),
    ] {
        let site = Site::start(url);
        let socket = site.udp().await;
        let mut reply = ask_udp(&socket, request).await;
        if request.starts_with("fill") {
            assert!(reply.len() <= 128 && reply.ends_with(b" of 300 bytes]"));
            reply.clear();
        }
        assert_eq!(String::from_utf8(reply).unwrap(), expected, "{url}");
        // Nothing else is on its way before the next answer.
        assert!(!ask_udp(&socket, request).await.is_empty());
    }
    let site = Site::start("udp://127.0.0.1:0/time");
    let socket = site.udp().await;
    let (empty, default) = (
        ask_udp(&socket, "").await,
        ask_udp(&socket, DEFAULT_FORMAT).await,
    );
    assert_eq!(empty.len(), "2026-11-30 12:34:56".len());
    assert_eq!(empty[..10], default[..10]);
}

//! Listeners whose clients mark the end of a request, write byte by byte, save what they get, or ask for the time in one format.

use std::time::Duration;

use remex_gateway::limits::Limits;

use crate::site::{PATIENCE, Site, ask_udp, soon};

fn commands(site: &Site) -> Vec<String> {
    let asked = site.fake.asked().into_iter();
    asked.map(|asked| asked.command.shell).collect()
}

#[tokio::test]
async fn a_marked_request_ends_with_its_mark_alone() {
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=raw&request_end=0x00&reply_end=0x04");
    let mut peer = site.connect().await;
    peer.send("out one\0").await;
    assert_eq!(peer.exactly(4).await, b"one\x04");
    // In pieces, and two at once.
    for piece in ["out ", "two\0out three\0out", " four"] {
        peer.send(piece).await;
    }
    assert_eq!(peer.exactly(4).await, b"two\x04");
    assert_eq!(peer.exactly(6).await, b"three\x04");
    peer.send("\0\n\0").await;
    assert_eq!(peer.exactly(5).await, b"four\x04");
    let nothing = b"(no output, exit code 0)\n\x04";
    assert_eq!(peer.exactly(nothing.len()).await, nothing);
    // Not the end of one that is spooled, either.
    peer.send("fill 3000000\0").await;
    let long = peer.exactly(3_000_001).await;
    assert!(long.ends_with(b"x\x04"));
    peer.send("GET / HTTP/1.1\r\n").await;
    peer.reset().await;
    let expected = [
        "out one",
        "out two",
        "out three",
        "out four",
        "fill 3000000",
    ];
    assert_eq!(commands(&site), expected);
}

/// Enough for a piece to be seen by itself.
const ASIDE: Duration = Duration::from_millis(30);

/// PITFALLS: a guard that sees pieces. Those that a mark makes are pieces, too.
#[tokio::test]
async fn a_mark_cuts_no_request_into_commands() {
    let site = Site::start("tcp://127.0.0.1:0/exec?wire=raw&request_end=0x3b");
    for request in [
        "GET /;out${IFS}a;out HTTP/1.1\r\n\r\n",
        "out /;out${IFS}a; HTTP/1.1\r\n\r\nout b;",
        "PRI * HTTP/2.0;\r\n\r\nSM;\r\n\r\n",
        "SSH-2.0-x;y\r\n",
    ] {
        let mut peer = site.connect().await;
        peer.send(request).await;
        peer.reset().await;
    }
    // In pieces.
    let mut peer = site.connect().await;
    let long = "A".repeat(2000);
    for piece in [&format!("out /;{long}"), ";out${IFS}a;"] {
        peer.send(piece).await;
        let answered = tokio::time::timeout(ASIDE, peer.stream.peek(&mut [0])).await;
        assert!(answered.is_err(), "a piece was answered");
    }
    peer.send(" HTTP/1.1\r\n").await;
    peer.reset().await;
    let mut peer = site.connect().await;
    for piece in ["GET /;", "out${IFS}a;"] {
        peer.send(piece).await;
    }
    // Whose rest does not come.
    peer.reset().await;
    assert!(site.fake.asked().is_empty());
    let mut peer = site.connect().await;
    peer.send("out a;out b;").await;
    assert_eq!(peer.exactly(2).await, b"ab");
}

#[tokio::test]
async fn without_its_mark_nothing_runs() {
    let site = Site::start("tcp://127.0.0.1:0/exec?request_end=0x0a");
    let mut peer = site.connect().await;
    peer.send("out a\r\nout b").await;
    assert_eq!(peer.reply().await.text(), "a");
    tokio::io::AsyncWriteExt::shutdown(&mut peer.stream)
        .await
        .unwrap();
    peer.end().await;
    let mut peer = site.connect().await;
    peer.send("x".repeat(100_000)).await;
    assert!(peer.reply().await.text().contains("longer than 65536"));
    assert_eq!(commands(&site), ["out a"]);
}

#[tokio::test]
async fn what_is_written_byte_by_byte_is_gathered() {
    // As long as no test is held up, and no longer than the one wait that each message costs.
    let site = Site::start("tcp://127.0.0.1:0/exec?gather=500ms");
    let mut peer = site.connect().await;
    for byte in "out hello\n".bytes() {
        peer.send([byte]).await;
    }
    assert_eq!(peer.reply().await.text(), "hello");
    assert_eq!(commands(&site), ["out hello"]);
    let site = Site::start("tcp://127.0.0.1:0/echo?gather=500ms");
    let mut peer = site.connect().await;
    for byte in "hello".bytes() {
        peer.send([byte]).await;
    }
    assert_eq!(peer.some().await, b"HELLO");
}

#[tokio::test]
async fn a_newline_behind_a_command_is_part_of_it() {
    let limits = Limits {
        newline_wait: PATIENCE,
        ..Limits::default()
    };
    let site = Site::with("tcp://127.0.0.1:0/exec", limits);
    let mut peer = site.connect().await;
    // Before anything was asked it is a command of white space.
    assert_eq!(peer.ask("\n").await.body, b"");
    assert_eq!(peer.ask("out a").await.text(), "a");
    for newline in ["\n", "\r\n"] {
        peer.send(newline).await;
        assert_eq!(peer.ask("out b").await.text().trim_end(), "b");
    }
    // While the command runs.
    peer.send("hold;out c").await;
    soon(site.fake.running(1)).await;
    peer.send("\n").await;
    site.fake.release();
    assert_eq!(peer.reply().await.text(), "c");
    assert_eq!(peer.ask("out d").await.text(), "d");
}

#[tokio::test]
async fn a_late_newline_is_a_command_of_white_space() {
    let limits = Limits {
        newline_wait: Duration::ZERO,
        ..Limits::default()
    };
    let site = Site::with("tcp://127.0.0.1:0/exec", limits);
    let mut peer = site.connect().await;
    assert_eq!(peer.ask("out a").await.text(), "a");
    // Whatever the gateway does meanwhile, it waits again by then.
    while site.connect().await.ask("out other").await.text() != "other" {}
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(peer.ask("\n").await.header["total_size"], 0);
}

#[tokio::test]
async fn a_reply_is_named_after_its_command() {
    let site = Site::start("tcp://127.0.0.1:0/exec?filename=last-word");
    let mut peer = site.connect().await;
    assert_eq!(
        peer.ask("out  文件.txt").await.header["filename"],
        "文件.txt"
    );
    assert_eq!(peer.ask(" ").await.header["filename"], "output.txt");
    assert_eq!(peer.ask("nope").await.header["filename"], "nope");
}

#[tokio::test]
async fn time_may_have_one_format() {
    let site = Site::start("udp://127.0.0.1:0/time?format=%25H:%25M:%25S");
    let socket = site.udp().await;
    for asked in ["", "%Y", "time please"] {
        let told = ask_udp(&socket, asked).await;
        assert_eq!(told.len(), 8, "{}", told.escape_ascii());
        assert_eq!((told[2], told[5]), (b':', b':'));
    }
}

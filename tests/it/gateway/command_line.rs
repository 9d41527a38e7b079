//! `remex legacy` at the gateway, over each of its wires: what a user tests a listener with.

use std::process::{Output, Stdio};

use tokio::process::Command;

use super::support::remexd;
use crate::harness::{Daemon, binaries::binary, soon};

async fn legacy(address: &str, flags: &[&str], command: &str) -> Output {
    let run = Command::new(binary("remex"))
        .arg("legacy")
        .args(flags)
        .args([address, command])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    soon("remex legacy", run).await.expect("remex runs")
}

/// Exit code and stdout; nothing is to be on stderr.
fn outcome(output: &Output) -> (Option<i32>, String) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "");
    let stdout = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    (output.status.code(), stdout)
}

/// What to give to `remex legacy` for the first legacy listener.
fn address(daemon: &Daemon) -> String {
    let listeners = daemon.addresses().iter();
    let (_, url) = listeners.last().expect("a legacy listener");
    url.clone()
}

#[tokio::test]
async fn every_wire_is_spoken() {
    // Only json-header tells the exit code.
    for (url, flags, code) in [
        ("tcp://127.0.0.1:0/exec", &[][..], 3),
        (
            "tcp://127.0.0.1:0/exec?charset=gbk&size_key=bytes&endian=big",
            &["--charset", "gbk", "--size-key", "bytes", "--endian", "big"],
            3,
        ),
        ("tcp://[::1]:0/exec?wire=length", &["--wire", "length"], 0),
        (
            "tcp://127.0.0.1:0/exec?wire=length&endian=big",
            &["--wire", "length", "--endian", "big"],
            0,
        ),
        (
            "tcp://127.0.0.1:0/exec?wire=ascii-length",
            &["--wire", "ascii-length"],
            0,
        ),
        (
            "tcp://127.0.0.1:0/exec?wire=ascii-length&ack=pause",
            &["--wire", "ascii-length", "--ack", "pause"],
            0,
        ),
        ("tcp://127.0.0.1:0/exec?wire=raw", &["--wire", "raw"], 0),
        (
            "udp://127.0.0.1:0/exec?charset=gbk",
            &["--charset", "gbk"],
            0,
        ),
    ] {
        let daemon = remexd(&[url]).await;
        let address = address(&daemon);
        let output = legacy(&address, flags, "echo 你好; echo err >&2; exit 3").await;
        // As the server sends it.
        let sent: &[u8] = if flags.contains(&"gbk") {
            b"\xc4\xe3\xba\xc3\nerr\n"
        } else {
            "你好\nerr\n".as_bytes()
        };
        assert_eq!(output.status.code(), Some(code), "{url}: {output:?}");
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (sent, &b""[..]),
            "{url}"
        );
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_long_reply_is_whole() {
    let lines: Vec<_> = (1..=300_000).map(|line| line.to_string()).collect();
    let expected = lines.join("\n") + "\n";
    for wire in ["json-header", "length", "ascii-length", "raw"] {
        let daemon = remexd(&[&format!("tcp://127.0.0.1:0/exec?wire={wire}")]).await;
        let output = legacy(&address(&daemon), &["--wire", wire], "seq 1 300000").await;
        assert!(outcome(&output) == (Some(0), expected.clone()), "{wire}");
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_unix_socket_is_spoken_to() {
    let home = crate::harness::Home::new();
    let url = format!("unix:{}?service=exec", home.path("legacy").display());
    let daemon = Daemon::start_in(&home, &["--legacy", &url]).await;
    let output = legacy(&address(&daemon), &[], "kill -9 $$").await;
    assert_eq!(outcome(&output), (Some(128 + 9), String::new()));
    daemon.stop().await;
}

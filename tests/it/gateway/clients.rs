//! Python clients, one a wire, against what a local shell gives: the same bytes, empty ones too.

use std::{fs, path::Path};

use tokio::process::Command;

use super::support::{python, remexd};
use crate::harness::{Daemon, soon, tools};

const COMMANDS: [&str; 6] = [
    "echo hello",
    "true",
    "ls /nonexistent; exit 3",
    "echo out; echo err >&2; exit 1",
    "printf 'no newline, 你好'",
    // 5 MB.
    "seq 1 750000",
];
const EMPTY: &str = "(no output, exit code 0)\n";

/// What a shell beside the daemon prints: stdout, then stderr.
async fn local(daemon: &Daemon, command: &str) -> Vec<u8> {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", command])
        .current_dir(daemon.home().folder());
    let output = soon("sh", shell.output()).await.expect("sh runs");
    [output.stdout, output.stderr].concat()
}

/// Runs `client` at the service `name`, with `options` and `commands`, and returns the replies.
async fn replies(
    daemon: &Daemon,
    client: &str,
    name: &str,
    options: &[&str],
    commands: &[&str],
) -> Vec<Vec<u8>> {
    let address = daemon.socket(name);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let folder = tempfile::tempdir_in(daemon.home().folder()).expect("a folder");
    let path = folder.path().to_str().expect("a path in UTF-8");
    let arguments = [&[&*host, &*port], options, &[path], commands].concat();
    python(client, &arguments).await;
    let read = |number: usize| fs::read(folder.path().join(number.to_string())).expect("a reply");
    (0..commands.len()).map(read).collect()
}

async fn assert_local(daemon: &Daemon, client: &str, options: &[&str], commands: &[&str]) {
    let replies = replies(daemon, client, "tcp-exec", options, commands).await;
    for (command, reply) in commands.iter().zip(replies) {
        // Not assert_eq: megabytes in a message help nobody.
        assert!(reply == local(daemon, command).await, "{client}: {command}");
    }
}

#[tokio::test]
async fn json_header() {
    skip_unless!(tools::program("python3"));
    for url in ["tcp://127.0.0.1:0/exec", "tcp://[::1]:0/exec"] {
        let daemon = remexd(&[url]).await;
        assert_local(&daemon, "json_header.py", &["utf-8"], &COMMANDS).await;
    }
}

#[tokio::test]
async fn json_header_in_gbk() {
    skip_unless!(tools::program("python3"));
    let daemon = remexd(&["tcp://127.0.0.1:0/exec?charset=gbk"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path in UTF-8");
    let address = daemon.socket("tcp-exec");
    // The second prints a name of three bytes a character in pieces of one byte; GBK has no emoji.
    let arguments = [
        &address.ip().to_string(),
        &address.port().to_string(),
        "gbk",
        path,
        "mkdir 目录 && touch 目录/文件.txt && ls 目录",
        "for byte in 346 226 207 344 273 266; do printf \"\\\\$byte\"; sleep 0.1; done",
        "printf '\\360\\237\\231\\202'",
        "yes 汉字 | head -c 5000000",
    ];
    python("json_header.py", &arguments).await;
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a reply");
    assert_eq!(text("0.text"), "文件.txt\n");
    assert_eq!(text("1.text"), "文件");
    assert_eq!(text("2.text"), "?");
    // The head ends in the middle of a character.
    let expected = "汉字\n".repeat(5_000_000 / 7) + "汉?";
    assert!(text("3.text") == expected, "{}", text("3.text").len());
    assert_eq!(
        fs::read(folder.path().join("0")).expect("a reply")[..4],
        *b"\xce\xc4\xbc\xfe"
    );
    assert!(Path::new(&daemon.home().path("目录/文件.txt")).exists());
}

#[tokio::test]
async fn length_in_both_byte_orders() {
    skip_unless!(tools::program("python3"));
    for (endian, format) in [("little", "i"), ("big", "!i")] {
        let url = format!("tcp://127.0.0.1:0/exec?wire=length&endian={endian}");
        let daemon = remexd(&[&url]).await;
        assert_local(&daemon, "length.py", &[format], &COMMANDS).await;
    }
}

#[tokio::test]
async fn ascii_length_with_either_ack() {
    skip_unless!(tools::program("python3"));
    for ack in ["wait", "pause"] {
        let url = format!("tcp://127.0.0.1:0/exec?wire=ascii-length&ack={ack}");
        let daemon = remexd(&[&url]).await;
        assert_local(&daemon, "ascii_length.py", &[ack], &COMMANDS).await;
    }
}

#[tokio::test]
async fn raw() {
    skip_unless!(tools::program("python3"));
    let daemon = remexd(&["tcp://127.0.0.1:0/exec?wire=raw"]).await;
    let commands = &COMMANDS[..5];
    for (client, commands) in [("raw.py", commands), ("raw_to_end.py", &COMMANDS)] {
        let replies = replies(&daemon, client, "tcp-exec", &[], commands).await;
        for (command, reply) in commands.iter().zip(replies) {
            let mut expected = local(&daemon, command).await;
            if expected.is_empty() {
                expected = EMPTY.into();
            }
            assert!(reply == expected, "{client}: {command}");
        }
    }
}

#[tokio::test]
async fn echo() {
    skip_unless!(tools::program("python3"));
    let daemon = remexd(&["tcp://127.0.0.1:0/echo", "udp://127.0.0.1:0/echo"]).await;
    let long = "abc".repeat(10_000);
    let texts = ["hello", "Grüße, 你好", &long];
    let upper = ["HELLO", "GRüßE, 你好", &long.to_uppercase()].map(|text| text.as_bytes().to_vec());
    let options: &[&str] = &[];
    let over_tcp = replies(&daemon, "echo_tcp.py", "tcp-echo", options, &texts).await;
    let over_udp = replies(&daemon, "datagram.py", "udp-echo", &["65535"], &texts).await;
    assert!(over_tcp == upper, "{:?}", &over_tcp[..2]);
    assert!(over_udp == upper, "{:?}", &over_udp[..2]);
}

#[tokio::test]
async fn exec_over_udp() {
    skip_unless!(tools::program("python3"));
    let daemon = remexd(&["udp://127.0.0.1:0/exec?max_datagram=1024"]).await;
    let commands = &COMMANDS[..5];
    let replies_ = replies(&daemon, "datagram.py", "udp-exec", &["1024"], commands).await;
    for (command, reply) in commands.iter().zip(replies_) {
        let mut expected = local(&daemon, command).await;
        if expected.is_empty() {
            expected = EMPTY.into();
        }
        assert_eq!(reply, expected, "{command}");
    }
    let cut = replies(
        &daemon,
        "datagram.py",
        "udp-exec",
        &["1024"],
        &COMMANDS[5..],
    )
    .await;
    let whole = local(&daemon, COMMANDS[5]).await;
    let text = str::from_utf8(&cut[0]).expect("UTF-8");
    let (kept, note) = text.split_once("\n[remex: cut, ").expect("a note");
    assert_eq!(note, format!("{} of {} bytes]", kept.len(), whole.len()));
    assert!(text.len() <= 1024 && kept.len() > 900 && whole.starts_with(kept.as_bytes()));
}

#[tokio::test]
async fn time_over_udp() {
    skip_unless!(tools::program("python3"));
    let daemon = remexd(&["udp://127.0.0.1:0/time"]).await;
    let formats = ["%Y-%m-%d %X", "", "%Y", "%999999Y"];
    let replies = replies(&daemon, "datagram.py", "udp-time", &["1024"], &formats).await;
    let year = local(&daemon, "date +%Y").await;
    let year = str::from_utf8(&year).expect("digits").trim();
    for reply in &replies[..2] {
        let text = str::from_utf8(reply).expect("UTF-8");
        // 2026-11-30 12:34:56
        assert!(text.len() == 19 && text.starts_with(year), "{text:?}");
    }
    assert_eq!(replies[2], year.as_bytes());
    assert_eq!(replies[3], year.as_bytes());
}

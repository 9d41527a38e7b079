//! The tutorial's own servers and remexd, side by side: one client program gets the same bytes from both.

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use serde_json::{Map, Value};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use super::support::{python, remexd, script};
use crate::harness::{soon, tools};

/// What the tutorial has its readers type, and what they try next.
const COMMANDS: [&str; 9] = [
    "echo hello",
    "echo out; echo err >&2",
    "ls /",
    "ls /nonexistent",
    "nosuchprogram",
    "printf 'no line end'",
    "printf 'Grüße, 你好\\n'",
    "printf '\\000\\001\\377'",
    "exit 3",
];
/// More than a recv takes, and than a socket holds.
const LONG: [&str; 2] = ["seq 1 2000", "seq 1 150000"];
/// Those whose output is empty hang the tutorial's clients of raw and UDP.
const SPOKEN: &[&str] = COMMANDS.split_at(8).0;
const TEXTS: [&str; 3] = ["hello", "Grüße, 你好", "a b\tc ß"];

/// A wire, the listener of remexd that speaks it, and what is asked over it.
const WIRES: [(&str, &str, &str, &[&str]); 7] = [
    (
        "json-header",
        "tcp://127.0.0.1:0/exec",
        "tcp-exec",
        &COMMANDS,
    ),
    (
        "length",
        "tcp://127.0.0.1:0/exec?wire=length",
        "tcp-exec",
        &COMMANDS,
    ),
    (
        "ascii-length",
        "tcp://127.0.0.1:0/exec?wire=ascii-length",
        "tcp-exec",
        &COMMANDS,
    ),
    ("raw", "tcp://127.0.0.1:0/exec?wire=raw", "tcp-exec", SPOKEN),
    ("echo", "tcp://127.0.0.1:0/echo", "tcp-echo", &TEXTS),
    ("udp-exec", "udp://127.0.0.1:0/exec", "udp-exec", SPOKEN),
    ("udp-echo", "udp://127.0.0.1:0/echo", "udp-echo", &TEXTS),
];

/// One of the tutorial's servers, which ends with this.
struct Tutorial {
    address: SocketAddr,
    _process: Child,
}

impl Tutorial {
    /// The one that speaks `wire`, with `folder` as its own.
    async fn start(wire: &str, folder: &Path) -> Self {
        let mut server = script("tutorial_server.py", &[wire]);
        server.current_dir(folder).stdout(Stdio::piped());
        let mut process = server.spawn().expect("python3 runs");
        let mut port = String::new();
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let read = soon("its port", stdout.read_line(&mut port)).await;
        read.expect("a line");
        let port: u16 = port.trim().parse().expect("a port");
        Self {
            address: ([127, 0, 0, 1], port).into(),
            _process: process,
        }
    }
}

/// The client's replies from the server at `address`, and their headers where the wire has any.
async fn ask(wire: &str, address: SocketAddr, commands: &[&str]) -> Vec<(Vec<u8>, Option<Value>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path in UTF-8");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let arguments = [&[wire, &host, &port, path], commands].concat();
    python("tutorial_client.py", &arguments).await;
    let read = |name: String| fs::read(folder.path().join(name)).ok();
    let header = |bytes: Vec<u8>| serde_json::from_slice(&bytes).expect("JSON");
    (0..commands.len())
        .map(|number| {
            let reply = read(number.to_string()).expect("a reply");
            (reply, read(format!("{number}.header")).map(header))
        })
        .collect()
}

fn fields(header: Option<Value>) -> Map<String, Value> {
    match header {
        Some(Value::Object(fields)) => fields,
        other => panic!("no header: {other:?}"),
    }
}

#[tokio::test]
async fn the_same_client_gets_the_same_from_both() {
    skip_unless!(tools::program("python3"));
    for (wire, url, name, commands) in WIRES {
        let long = matches!(wire, "json-header" | "length" | "ascii-length");
        let commands = [commands, if long { &LONG } else { &[] }].concat();
        let remexd = remexd(&[url]).await;
        let tutorial = Tutorial::start(wire, remexd.home().folder()).await;
        let theirs = ask(wire, tutorial.address, &commands).await;
        let ours = ask(wire, remexd.socket(name), &commands).await;
        for (command, (theirs, ours)) in commands.iter().zip(theirs.into_iter().zip(ours)) {
            // Not assert_eq: megabytes in a message help nobody.
            assert!(
                theirs.0 == ours.0,
                "{wire}: {command}: {} bytes, {}",
                theirs.0.len(),
                ours.0.len()
            );
            if wire != "json-header" {
                continue;
            }
            let (theirs, ours) = (fields(theirs.1), fields(ours.1));
            assert_eq!(theirs["total_size"], ours["total_size"], "{command}");
            for (key, value) in theirs {
                let ours = ours
                    .get(&key)
                    .unwrap_or_else(|| panic!("{command}: no {key}"));
                assert_eq!(value.is_string(), ours.is_string(), "{command}: {key}");
            }
        }
        remexd.stop().await;
    }
}

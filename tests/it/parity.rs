//! One table of commands, the same bytes and the same exit on every way in, as a local shell gives them.

use std::{
    net::SocketAddr,
    process::{Output, Stdio},
};

use remex::v1;
use remex_client::Exit;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    process::Command,
};

use crate::harness::{Daemon, binaries::binary, soon, tools};

/// For `sh -c`. What each prints and how it ends is what a local run gives.
pub(crate) const COMMANDS: [&str; 14] = [
    "echo hello",
    "true",
    "false",
    "exit 4",
    "exit 44",
    "exit 126",
    "exit 255",
    "kill -TERM $$",
    "kill -KILL $$",
    "echo out; echo err >&2; exit 3",
    "printf 'no newline'",
    r"printf 'bytes \200\377\000 are bytes'",
    "printf '你好, Ελλάδα\\n'; pwd",
    "seq 1 20000",
];

/// UDP answers in one datagram.
const MAX_DATAGRAM: usize = 65_507;

/// What came of a command. `status` is as a shell's `$?`: 128 and its number for a signal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: i32,
}

#[tokio::test]
async fn every_way_in_gives_what_a_local_shell_gives() {
    skip_unless!(tools::root());
    let daemon = Daemon::start(&[
        "--legacy",
        "tcp://127.0.0.1:0/exec",
        "--legacy",
        "udp://127.0.0.1:0/exec",
    ])
    .await;
    for text in COMMANDS {
        let local = local(&daemon, text).await;
        for (way, seen) in [
            ("Run", run(&daemon, text).await),
            ("Start", start(&daemon, text).await),
            ("Interact", interact(&daemon, text).await),
            ("remex", remex(&daemon, text).await),
        ] {
            assert_eq!(seen, local, "{text:?} by {way}");
        }
        over_tcp(daemon.socket("tcp-exec"), text, &local).await;
        over_udp(daemon.socket("udp-exec"), text, &local).await;
    }
    daemon.stop().await;
}

/// What a shell on this machine makes of `text`.
pub(crate) async fn local(daemon: &Daemon, text: &str) -> Seen {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", text]).current_dir(daemon.home().folder());
    outcome("sh", &mut shell).await
}

/// What came of `command`, which is given no stdin.
pub(crate) async fn outcome(what: &str, command: &mut Command) -> Seen {
    let output = soon(what, command.stdin(Stdio::null()).output()).await;
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap_or_else(|error| panic!("{what}: {error}"));
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    Seen {
        stdout,
        stderr,
        status: status
            .code()
            .or(signal.map(|number| 128 + number))
            .expect("an end"),
    }
}

fn shell(text: &str) -> v1::Command {
    v1::Command {
        shell: text.to_owned(),
        ..v1::Command::default()
    }
}

fn status(exit: Option<v1::Exit>) -> i32 {
    let exit = exit.expect("an exit");
    match (exit.code, exit.signal) {
        (Some(-1), signal) => 128 + signal,
        (Some(code), 0) => code,
        other => panic!("{other:?} is no exit"),
    }
}

async fn run(daemon: &Daemon, text: &str) -> Seen {
    let request = v1::RunRequest {
        command: Some(shell(text)),
        ..v1::RunRequest::default()
    };
    let mut exec = daemon.client().await.exec();
    let response = soon("Run", exec.run(request))
        .await
        .expect("a result")
        .into_inner();
    Seen {
        stdout: response.stdout_data.to_vec(),
        stderr: response.stderr_data.to_vec(),
        status: status(response.exit),
    }
}

fn start_request(text: &str) -> v1::StartRequest {
    v1::StartRequest {
        command: Some(shell(text)),
        ..v1::StartRequest::default()
    }
}

async fn start(daemon: &Daemon, text: &str) -> Seen {
    let mut exec = daemon.client().await.exec();
    let stream = soon("Start", exec.start(start_request(text))).await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut events = Vec::new();
    while let Some(response) = soon("an event", stream.message()).await.expect("an event") {
        events.extend(response.event);
    }
    of_events(events)
}

async fn interact(daemon: &Daemon, text: &str) -> Seen {
    let first = v1::InteractRequest {
        message: Some(v1::interact_request::Message::Start(Box::new(
            start_request(text),
        ))),
    };
    let mut exec = daemon.client().await.exec();
    let requests = futures_util::stream::iter([first]);
    let stream = soon("Interact", exec.interact(requests)).await;
    let mut stream = stream.expect("a stream").into_inner();
    let mut events = Vec::new();
    while let Some(response) = soon("an event", stream.message()).await.expect("an event") {
        events.extend(response.event);
    }
    of_events(events)
}

/// Also asserts what holds of every stream: `started` first, numbers without a hole, true offsets, `exited` last.
fn of_events(events: Vec<v1::Event>) -> Seen {
    use v1::{event::Kind, output::Stream};
    let (mut stdout, mut stderr, mut exit) = (Vec::new(), Vec::new(), None);
    let last = events.len() - 1;
    for (index, event) in events.into_iter().enumerate() {
        assert_eq!(event.sequence, index as u64 + 1);
        match event.kind.expect("a kind") {
            Kind::Started(_) => assert_eq!(index, 0),
            Kind::Output(output) => {
                let bytes = match output.stream() {
                    Stream::Stdout => &mut stdout,
                    Stream::Stderr => &mut stderr,
                    other => panic!("output on {other:?}"),
                };
                assert_eq!(output.offset, bytes.len() as u64);
                assert!(!output.data.is_empty() && output.data.len() <= 65_536);
                bytes.extend_from_slice(&output.data);
            }
            Kind::Exited(exited) => {
                assert_eq!(index, last);
                exit = exited.exit;
            }
            Kind::Gap(gap) => panic!("{gap:?} in a stream that lost nothing"),
        }
    }
    Seen {
        stdout,
        stderr,
        status: status(exit),
    }
}

async fn remex(daemon: &Daemon, text: &str) -> Seen {
    let mut remex = Command::new(binary("remex"));
    remex.args(["--server", daemon.url("grpc"), "run", "--shell", text]);
    outcome("remex", &mut remex).await
}

async fn over_tcp(address: SocketAddr, text: &str, local: &Seen) {
    let mut stream = soon("a connection", TcpStream::connect(address))
        .await
        .expect("a connection");
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut length = [0; 4];
    soon("a length", stream.read_exact(&mut length))
        .await
        .expect("a length");
    let mut header = vec![0; u32::from_le_bytes(length) as usize];
    soon("a header", stream.read_exact(&mut header))
        .await
        .expect("a header");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    let size = header["total_size"].as_u64().expect("a size");
    let mut body = vec![0; usize::try_from(size).expect("a small size")];
    soon("a body", stream.read_exact(&mut body))
        .await
        .expect("a body");
    // UTF-8 is what the listener's clients decode, so what is none is replaced.
    let expected = replaced(&local.stdout) + &replaced(&local.stderr);
    assert_eq!(
        String::from_utf8_lossy(&body),
        expected,
        "{text:?} over TCP"
    );
    let signal = header["signal"]
        .as_str()
        .map(str::parse::<remex_client::Signal>);
    let status = match (header["exit_code"].as_i64(), signal) {
        (Some(code), None) => i32::try_from(code).expect("a code"),
        (None, Some(Ok(signal))) => 128 + i32::from(signal.number()),
        other => panic!("{other:?} in {header}"),
    };
    assert_eq!(status, local.status, "{text:?} over TCP: {header}");
}

fn replaced(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn over_udp(address: SocketAddr, text: &str, local: &Seen) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(address).await.expect("connected");
    socket.send(text.as_bytes()).await.expect("sent");
    let mut datagram = vec![0; MAX_DATAGRAM];
    let size = soon("a datagram", socket.recv(&mut datagram))
        .await
        .expect("a datagram");
    let seen = String::from_utf8_lossy(&datagram[..size]).into_owned();
    let expected = replaced(&local.stdout) + &replaced(&local.stderr);
    // A datagram has no status, so what a signal ended says so in a last line.
    let signal = text.strip_prefix("kill -");
    if let Some(signal) = signal.and_then(|rest| rest.split(' ').next()) {
        let told = format!("[remex: the command was ended by signal SIG{signal}]\n");
        assert_eq!(seen, expected + &told, "{text:?} over UDP");
    } else if expected.is_empty() {
        assert!(
            seen.starts_with("(no output, "),
            "{text:?} over UDP: {seen:?}"
        );
    } else if expected.len() > MAX_DATAGRAM {
        let marker = format!("of {} bytes]", expected.len());
        assert!(
            seen.ends_with(&marker),
            "{text:?} over UDP ends with {:?}",
            seen.lines().last()
        );
        let (kept, _) = seen.rsplit_once("\n[remex: cut, ").expect("the marker");
        assert!(expected.starts_with(kept), "{text:?} over UDP");
    } else {
        assert_eq!(seen, expected, "{text:?} over UDP");
    }
}

/// That the test above would see a difference.
#[test]
fn outcomes_that_differ_are_unequal() {
    let exit = |code, signal| {
        Some(v1::Exit {
            code: Some(code),
            signal,
            ..v1::Exit::default()
        })
    };
    assert_eq!(status(exit(-1, 9)), 137);
    assert_eq!(status(exit(3, 0)), 3);
    assert_eq!(Exit::from(exit(3, 0).unwrap_or_default()).status_code(), 3);
}

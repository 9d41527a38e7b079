//! Peers that may not connect, or not so often, cost the others nothing: PITFALLS 54, and 26.

use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use remex::{
    error::Reason,
    v1::{Command, RunRequest},
};
use remex_client::Client;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout},
};
use tonic::Status;

use crate::harness::{
    Daemon, eventually, soon,
    tools::{OTHER_USER, program, root},
};

/// More than all that are served at once.
const FLOOD: usize = 5000;

/// What a single peer may have.
const OF_A_PEER: usize = 1024;

/// A second, and some for a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Opens connections, each with HTTP/2's preface, and says what the last one is told.
const PEER: &str = r#"
import resource, socket, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
held = []
for _ in range(count):
    connection = socket.create_connection((host, port))
    try:
        connection.sendall(preface)
    except OSError:
        pass
    held.append(connection)
print("open", flush=True)
def read(size):
    data = b""
    while len(data) < size:
        more = held[-1].recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
try:
    while True:
        head = read(9)
        read(int.from_bytes(head[:3], "big"))
        if head[3] == 7:
            print("goaway", flush=True)
except (EOFError, OSError):
    print("closed", flush=True)
sys.stdin.read()
"#;

/// Another user, with its connections; they last until this is dropped.
struct Peer {
    _python: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(to: SocketAddr, connections: usize) -> Self {
        let mut python = tokio::process::Command::new("python3")
            .args(["-c", PEER, &to.ip().to_string(), &to.port().to_string()])
            .arg(connections.to_string())
            .uid(OTHER_USER)
            .gid(OTHER_USER)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(python.stdout.take().unwrap()).lines();
        Self {
            _python: python,
            said,
        }
    }

    async fn says(&mut self, what: &str) {
        let line = soon(what, self.said.next_line()).await.unwrap();
        assert_eq!(line.as_deref(), Some(what));
    }
}

async fn run(client: &Client) -> Result<(), Status> {
    let request = RunRequest {
        command: Some(Command {
            argv: vec!["true".to_owned()],
            ..Command::default()
        }),
        ..RunRequest::default()
    };
    let ran = soon("a run", client.exec().run(request)).await?;
    assert_eq!(ran.get_ref().exit.as_ref().unwrap().code, Some(0));
    Ok(())
}

#[tokio::test]
async fn pitfall_54_a_refused_peer_is_told_to_go() {
    skip_unless!(root());
    skip_unless!(program("python3"));
    let daemon = Daemon::start(&[]).await;
    let mut peer = Peer::start(daemon.socket("grpc"), 1);
    peer.says("open").await;
    let since = Instant::now();
    peer.says("goaway").await;
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    let mut line = String::from("goaway");
    // HTTP/2 says it twice to those that answer.
    while line == "goaway" {
        line = soon("the end", peer.said.next_line())
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(line, "closed");
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_54_refused_peers_hold_no_permits_and_fill_no_log() {
    skip_unless!(root());
    skip_unless!(program("python3"));
    let daemon = Daemon::start(&[]).await;
    let before = daemon.open_files();
    let mut peer = Peer::start(daemon.socket("grpc"), FLOOD);
    peer.says("open").await;
    run(&daemon.client().await).await.unwrap();
    eventually("few descriptors", || {
        (daemon.open_files() < before + 100).then_some(())
    })
    .await;
    let log = daemon.home().logged(&["refused"]).await;
    let lines = log.lines().filter(|line| line.contains("refused")).count();
    assert!((1..=10).contains(&lines), "{lines} lines: {log}");
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_26_a_peer_has_a_bound_of_its_own() {
    crate::limits::raise_open_files();
    let daemon = Daemon::start(&[]).await;
    // Silent ones are closed in ten seconds: enough for what follows.
    let mut open = Vec::new();
    for _ in 0..OF_A_PEER {
        open.push(TcpStream::connect(daemon.socket("grpc")).await.unwrap());
    }
    let client = Client::connect_lazy(&daemon.endpoint());
    let refused = run(&client).await.unwrap_err();
    assert_eq!(
        Reason::of(&refused),
        Some(Reason::PeerNotAllowed),
        "{refused}"
    );
    assert!(refused.message().contains("1024"), "{refused}");
    open.truncate(OF_A_PEER / 2);
    soon("a place", async {
        while run(&Client::connect_lazy(&daemon.endpoint()))
            .await
            .is_err()
        {}
    })
    .await;
    daemon.stop().await;
}

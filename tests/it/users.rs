//! Who of this machine is let in: the daemon's own user is, another one is not until `--users` names it. Each scenario
//! does the same as either, so that it would notice if nobody were let in, or everybody.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, UdpSocket},
    process::{Child, ChildStdout, Command},
};

use crate::harness::{
    Daemon, Home, eventually, soon,
    tools::{OTHER_USER, program, root},
};

/// Flags, who calls, and whether it is let in.
const CASES: [(&[&str], u32, bool); 4] = [
    (&[], 0, true),
    (&[], OTHER_USER, false),
    (&["--users", "65534"], OTHER_USER, true),
    (&["--users", "*"], OTHER_USER, true),
];

const LEGACY: [&str; 4] = [
    "--legacy",
    "tcp://127.0.0.1:0/exec",
    "--legacy",
    "udp://127.0.0.1:0/exec",
];

/// `program` as `user` runs it.
fn as_user(user: u32, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.uid(user).gid(user).current_dir("/");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// grpcurl where every user may run it, and what it would ask reflection for, which itself is refused.
fn for_everybody(grpcurl: &Path, home: &Home) -> PathBuf {
    fs::write(home.path("remex"), remex::FILE_DESCRIPTOR_SET).unwrap();
    fs::write(home.path("errors"), tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
    let copy = home.path("grpcurl");
    // Written by a process of its own: one that another test forks right now would hold the file open for writing, and
    // such a file cannot be executed.
    let copied = std::process::Command::new("cp")
        .args([grpcurl, &copy])
        .status();
    assert!(copied.unwrap().success());
    copy
}

async fn calls_run(grpcurl: &Path, user: u32, server: &[&str], let_in: bool) {
    let mut command = as_user(user, grpcurl);
    for protoset in ["remex", "errors"] {
        command
            .arg("-protoset")
            .arg(grpcurl.with_file_name(protoset));
    }
    let request = json!({"command": {"shell": "echo ran"}, "text": true}).to_string();
    command.args(["-plaintext", "-format-error", "-d", &request]);
    command.args(server).arg("remex.v1.ExecService/Run");
    let output = soon("grpcurl", command.output()).await.unwrap();
    let answer: Value = serde_json::from_slice(if let_in {
        &output.stdout
    } else {
        &output.stderr
    })
    .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    if let_in {
        assert_eq!(answer["stdoutText"], "ran\n", "{answer}");
        return;
    }
    assert_eq!(answer["code"], 7, "PERMISSION_DENIED: {answer}");
    assert_eq!(answer["details"][0]["reason"], "PEER_NOT_ALLOWED");
    let message = answer["message"].as_str().unwrap();
    assert!(message.contains("65534"), "{message}");
    assert!(message.contains("--users"), "{message}");
}

#[tokio::test]
async fn over_grpc() {
    skip_unless!(root());
    let grpcurl = skip_unless!(program("grpcurl"));
    for (flags, user, let_in) in CASES {
        let home = Home::new();
        let path = home.path("remexd.sock").display().to_string();
        let socket = format!("unix:{path}?mode=0666");
        let mut all = vec!["--listen", "127.0.0.1:0", "--listen", &socket];
        all.extend(flags);
        let daemon = Daemon::start_in(&home, &all).await;
        let grpcurl = for_everybody(&grpcurl, &home);
        let port = daemon.socket("grpc").to_string();
        calls_run(&grpcurl, user, &[&port], let_in).await;
        let unix = ["-unix", "-authority", "localhost", &path];
        calls_run(&grpcurl, user, &unix, let_in).await;
        daemon.stop().await;
    }
}

/// Sends a command and stays, to read what is answered.
const STAYS: &str = r#"exec 3<>/dev/$1/127.0.0.1/$2; printf %s "$3" >&3; echo sent; exec cat <&3"#;
/// Sends a command and is gone before anybody can ask who it was.
const GOES: &str = r#"printf %s "$3" >/dev/$1/127.0.0.1/$2; echo sent"#;

/// A client of the old protocol, in another process, which ends when this is dropped.
struct Sender {
    _bash: Child,
    said: BufReader<ChildStdout>,
}

impl Sender {
    /// Returns when `command` is sent.
    async fn send(user: u32, script: &str, (protocol, port): (&str, u16), command: &str) -> Self {
        let mut bash = as_user(user, Path::new("bash"))
            .args(["-c", script, "bash", protocol, &port.to_string(), command])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(bash.stdout.take().unwrap());
        let mut line = String::new();
        soon("bash", said.read_line(&mut line)).await.unwrap();
        assert_eq!(line, "sent\n");
        Self { _bash: bash, said }
    }

    /// All that is answered until the server closes the connection.
    async fn answer(mut self) -> String {
        let mut bytes = Vec::new();
        soon("the end", self.said.read_to_end(&mut bytes))
            .await
            .unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What the daemon's own user is answered; whatever was sent before has been taken by then.
async fn own_user_is_answered(protocol: &str, address: SocketAddr) {
    let mut answer = vec![0; 1024];
    let read = if protocol == "tcp" {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"echo mine").await.unwrap();
        let mut read = 0;
        while !answer[..read].ends_with(b"mine\n") {
            let more = stream.read(&mut answer[read..]);
            read += soon("an answer", more).await.unwrap();
        }
        read
    } else {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(b"echo mine", address).await.unwrap();
        soon("an answer", socket.recv(&mut answer)).await.unwrap()
    };
    assert!(answer[..read].ends_with(b"mine\n"));
}

async fn over_legacy(protocol: &str) {
    skip_unless!(root());
    skip_unless!(program("bash"));
    for (flags, user, let_in) in CASES {
        let daemon = Daemon::start(&[&LEGACY, flags].concat()).await;
        let address = daemon.socket(&format!("{protocol}-exec"));
        let server = (protocol, address.port());
        let home = daemon.home().clone();
        let file = home.path("file");
        let command = format!("touch {}", file.display());
        let stays = Sender::send(user, STAYS, server, &command).await;
        if let_in {
            eventually("the file", || file.exists().then_some(())).await;
        } else {
            let goes = Sender::send(user, GOES, server, &command).await;
            own_user_is_answered(protocol, address).await;
            drop(goes);
            if protocol == "tcp" {
                let answer = stays.answer().await;
                assert!(answer.contains("--users"), "{answer:?}");
            }
        }
        daemon.stop().await;
        assert_eq!(file.exists(), let_in, "{flags:?}, {user}");
    }
}

#[tokio::test]
async fn over_legacy_tcp() {
    over_legacy("tcp").await;
}

#[tokio::test]
async fn over_legacy_udp() {
    over_legacy("udp").await;
}

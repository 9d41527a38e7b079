//! Clients of the options that not every old server had, each in two languages: one that writes byte by byte, one that ends its
//! requests with NUL, one that saves what it gets under the header's name, one that asks for the time in no format.

use std::{fs, path::PathBuf, process::Output};

use tempfile::TempDir;
use tokio::process::Command;

use super::support::{python, remexd, source};
use crate::harness::{Daemon, soon, tools};

/// The second would be three commands and more, if its pieces were taken one by one.
const COMMANDS: [&str; 3] = [
    "echo one",
    "for i in 1 2 3; do echo $i; done; echo 'a  b'",
    "echo done >&2; exit 4",
];
const REPLIES: [&str; 3] = ["one\n", "1\n2\n3\na  b\n", "done\n"];

/// Programs compiled from `clients/`, and what they leave.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &str {
        self.0.path().to_str().expect("a path in UTF-8")
    }

    fn left(&self, name: &str) -> Vec<u8> {
        let file = self.0.path().join(name);
        fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Compiles a C program.
    async fn cc(&self, name: &str) -> PathBuf {
        let program = self.0.path().join(name);
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-Wall", "-Werror", "-O2", "-o"])
            .arg(&program)
            .arg(source(&format!("{name}.c")));
        succeed("cc", cc).await;
        program
    }

    /// Compiles a Java program; returns what runs it.
    async fn java(&self, name: &str) -> Command {
        let mut javac = Command::new("javac");
        javac
            .args(["-d", self.path()])
            .arg(source(&format!("{name}.java")));
        succeed("javac", javac).await;
        let mut java = Command::new("java");
        java.args(["-cp", self.path(), name]);
        java
    }
}

async fn succeed(what: &str, mut program: Command) -> String {
    program.kill_on_drop(true);
    let output: Output = soon(what, program.output()).await.expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{what}: {}: {stderr}",
        output.status
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Host and port of a service.
fn target(daemon: &Daemon, name: &str) -> [String; 2] {
    let address = daemon.socket(name);
    [address.ip().to_string(), address.port().to_string()]
}

#[tokio::test]
async fn gather_for_a_client_in_java_that_writes_bytes() {
    skip_unless!(tools::program("javac"));
    let bench = Bench::new();
    let mut client = bench.java("Bytewise").await;
    let daemon = remexd(&["tcp://127.0.0.1:0/exec?wire=raw&gather=500ms"]).await;
    client.args(target(&daemon, "tcp-exec")).args(COMMANDS);
    assert_eq!(succeed("Bytewise", client).await, REPLIES.concat());
    daemon.stop().await;
}

#[tokio::test]
async fn gather_for_a_client_in_python_that_writes_bytes() {
    skip_unless!(tools::program("python3"));
    let bench = Bench::new();
    let daemon = remexd(&["tcp://127.0.0.1:0/exec?gather=500ms"]).await;
    let [host, port] = target(&daemon, "tcp-exec");
    let arguments = [&[&*host, &*port, bench.path()], &COMMANDS[..]].concat();
    python("bytewise.py", &arguments).await;
    for (number, reply) in REPLIES.iter().enumerate() {
        assert_eq!(bench.left(&number.to_string()), reply.as_bytes());
    }
    daemon.stop().await;
}

/// Ends of requests and replies, as a course's remote shell has them.
const ENDED: &str = "tcp://127.0.0.1:0/exec?wire=raw&request_end=0x00&reply_end=0x04";

#[tokio::test]
async fn requests_that_end_for_a_client_in_c() {
    skip_unless!(tools::program("cc"));
    let bench = Bench::new();
    let mut client = Command::new(bench.cc("ended").await);
    let daemon = remexd(&[ENDED]).await;
    client.args(target(&daemon, "tcp-exec")).args(COMMANDS);
    assert_eq!(succeed("ended", client).await, REPLIES.concat());
    daemon.stop().await;
}

#[tokio::test]
async fn requests_that_end_for_a_client_in_python() {
    skip_unless!(tools::program("python3"));
    let bench = Bench::new();
    let daemon = remexd(&[ENDED]).await;
    let [host, port] = target(&daemon, "tcp-exec");
    let arguments = [&[&*host, &*port, bench.path()], &COMMANDS[..]].concat();
    python("ended.py", &arguments).await;
    for (number, reply) in REPLIES.iter().enumerate() {
        assert_eq!(bench.left(&number.to_string()), reply.as_bytes());
    }
    daemon.stop().await;
}

/// Files of a daemon's folder, and how they are asked for.
const FILES: [(&str, &[u8]); 3] = [
    ("one.txt", b"one\n"),
    ("bytes", b"\0\x01\xff\r\n\0"),
    ("empty", b""),
];
const LAST_WORD: &str = "tcp://127.0.0.1:0/exec?filename=last-word";

fn leave_files(daemon: &Daemon) -> Vec<String> {
    for (name, bytes) in FILES {
        fs::write(daemon.home().path(name), bytes).expect("a file");
    }
    FILES.map(|(name, _)| format!("cat {name}")).into()
}

#[tokio::test]
async fn names_of_files_for_a_client_in_c() {
    skip_unless!(tools::program("cc"));
    let bench = Bench::new();
    let mut client = Command::new(bench.cc("get").await);
    let daemon = remexd(&[LAST_WORD]).await;
    let commands = leave_files(&daemon);
    client
        .args(target(&daemon, "tcp-exec"))
        .arg(bench.path())
        .args(commands);
    succeed("get", client).await;
    for (name, bytes) in FILES {
        assert_eq!(bench.left(name), bytes, "{name}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn names_of_files_for_a_client_in_python() {
    skip_unless!(tools::program("python3"));
    let bench = Bench::new();
    let daemon = remexd(&[LAST_WORD]).await;
    let commands = leave_files(&daemon);
    let [host, port] = target(&daemon, "tcp-exec");
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    let arguments = [&[&*host, &*port, bench.path()], &commands[..]].concat();
    python("get.py", &arguments).await;
    for (name, bytes) in FILES {
        assert_eq!(bench.left(name), bytes, "{name}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_fixed_format_of_time_whatever_is_asked() {
    skip_unless!(tools::program("python3"));
    skip_unless!(tools::program("bash"));
    let bench = Bench::new();
    let daemon = remexd(&["udp://127.0.0.1:0/time?format=%25H:%25M%20o'clock"]).await;
    let [host, port] = target(&daemon, "udp-time");
    let mut shell = Command::new("bash");
    shell
        .arg(source("when.sh"))
        .args([&*host, &*port, "what time is it?"]);
    let told = succeed("when.sh", shell).await;
    python(
        "datagram.py",
        &[&host, &port, "1024", bench.path(), "%Y", "now"],
    )
    .await;
    let others = ["0", "1"].map(|name| String::from_utf8(bench.left(name)).expect("UTF-8"));
    for text in [&told, &others[0], &others[1]] {
        let time = text.strip_suffix(" o'clock").expect("the format");
        let (hour, minute) = time.split_once(':').expect("a colon");
        assert!(hour.parse::<u8>().is_ok_and(|hour| hour < 24), "{text}");
        assert!(
            minute.parse::<u8>().is_ok_and(|minute| minute < 60),
            "{text}"
        );
    }
    daemon.stop().await;
}

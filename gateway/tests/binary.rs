//! The binary itself: its flags, its exit codes, its lines, its signals.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn gateway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remex-gateway"));
    command.env_remove("REMEX_LOG");
    command
}

fn run(line: &str) -> Output {
    gateway().args(line.split_whitespace()).output().unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn what_is_wrong_exits_64_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "\nlegasy = []\n").unwrap();
    let file = file.display();
    for (line, named) in [
        ("--no-such-flag".to_owned(), "--no-such-flag"),
        (
            "--legacy tcp://127.0.0.1:0/exec?wier=raw".to_owned(),
            "`wier`",
        ),
        (
            "--legacy tcp://0.0.0.0:0/exec".to_owned(),
            "--allow-plaintext",
        ),
        (
            "--legacy udp://0.0.0.0:0/exec".to_owned(),
            "--allow-udp-exec",
        ),
        (
            "--upstream http://192.0.2.7:50051".to_owned(),
            "--allow-plaintext",
        ),
        ("--users no-such-user".to_owned(), "no-such-user"),
        (format!("--config {file}"), ":2: unknown key `legasy`"),
    ] {
        for check in ["", " --check"] {
            let output = run(&format!("{line}{check}"));
            assert_eq!(output.status.code(), Some(64), "{line}{check}");
            assert!(stderr(&output).contains(named), "{}", stderr(&output));
        }
    }
}

#[test]
fn a_check_binds_nothing_and_explains() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", taken.local_addr().unwrap());
    let output = run(&format!("--check --legacy {url}/exec?charset=gbk"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = str::from_utf8(&output.stdout).unwrap();
    assert!(text.contains(&format!("{url}: runs commands")), "{text}");
    assert!(text.contains("GBK"), "{text}");
}

#[test]
fn a_spool_that_takes_nothing_is_told_by_check_and_at_start() {
    let line = "--legacy tcp://127.0.0.1:0/echo --spool-dir /proc/none";
    let output = run(&format!("--check {line}"));
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--spool-dir"),
        "{}",
        stderr(&output)
    );

    let mut child = gateway()
        .args(line.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let told = lines.find(|line| line.contains("replies that are too long for memory will be cut"));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(told.is_some_and(|line| line.contains("/proc/none")));
}

#[test]
fn a_port_that_is_taken_exits_69_and_is_named() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for url in [
        format!("tcp://{}/exec", tcp.local_addr().unwrap()),
        format!("udp://{}/exec", udp.local_addr().unwrap()),
    ] {
        let output = run(&format!("--legacy {url}"));
        assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
        let port = url.rsplit(':').next().unwrap().trim_end_matches("/exec");
        let message = stderr(&output);
        assert!(
            message.contains("--legacy") && message.contains(&format!("port {port}")),
            "{message}"
        );
    }
}

struct Running {
    child: Child,
    lines: Vec<String>,
}

impl Running {
    fn start(line: &str, lines: usize) -> Self {
        let mut child = gateway()
            .args(line.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = stdout.lines().take(lines).map(Result::unwrap).collect();
        Self { child, lines }
    }

    fn address(&self, line: usize) -> &str {
        self.lines[line].split("://").nth(1).unwrap()
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_says_where_it_listens_serves_and_drains() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let mut running = Running::start(
        &format!(
            "--upstream unix:{0}/none --legacy tcp://127.0.0.1:0/exec --legacy udp://127.0.0.1:0/time \
             --legacy unix:{0}/legacy.sock?service=echo --ready-file {0}/ready",
            folder.path().display()
        ),
        3,
    );
    let names: Vec<_> = running
        .lines
        .iter()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["tcp-exec", "udp-time", "unix-echo"]);

    let mut stream = TcpStream::connect(running.address(0)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"uname").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    let reply = String::from_utf8_lossy(&reply[4..]).into_owned();
    assert!(reply.contains("remex: cannot connect to unix:"), "{reply}");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"%%", running.address(1)).unwrap();
    let mut reply = [0; 8];
    let count = socket.recv(&mut reply).unwrap();
    assert_eq!(&reply[..count], b"%");

    assert_eq!(
        fs::read_to_string(&ready).unwrap(),
        running.lines.join("\n") + "\n"
    );
    assert_eq!(running.terminate(), Some(0));
    assert!(!folder.path().join("legacy.sock").exists());
    TcpListener::bind(running.address(0)).unwrap();
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    for block in [4096, 1] {
        while writer.write(&vec![b'.'; block]).is_ok() {}
    }
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

#[test]
fn pitfall_49_a_blocked_log_stops_neither_serving_nor_exiting() {
    let (_reader, writer) = full_pipe();
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let child = gateway()
        .args(["--log-level", "trace", "--upstream", "unix:/none"])
        .args(["--legacy", "tcp://127.0.0.1:0/echo"])
        .arg("--ready-file")
        .arg(&ready)
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut running = Running {
        child,
        lines: Vec::new(),
    };
    let since = Instant::now();
    running.lines = loop {
        if let Ok(text) = fs::read_to_string(&ready) {
            break text.lines().map(str::to_owned).collect();
        }
        assert!(since.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(10));
    };
    let mut stream = TcpStream::connect(running.address(0)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"served").unwrap();
    // There is no server behind it, which it says.
    let mut reply = [0; 6];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"remex:");
    assert_eq!(running.terminate(), Some(0));
}

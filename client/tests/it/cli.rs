//! The binary `remex`, run as a user runs it.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::fake::Fake;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// `remex ARGS`, at `server`, with no stdin unless the caller gives it one.
pub(crate) fn remex(server: &Fake, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remex"));
    command
        .args(args)
        .env("REMEX_SERVER", server.endpoint.to_string());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The output of a process that ends in time.
pub(crate) fn output_of(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        kill_process(pid, Signal::KILL).unwrap();
        panic!("it does not end")
    })
}

/// Exit code, stdout and stderr.
pub(crate) fn result(command: &mut Command) -> (i32, String, String) {
    let output = output_of(command.spawn().unwrap());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

pub(crate) fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let stdout: ChildStdout = child.stdout.take().unwrap();
    BufReader::new(stdout).lines().map(Result::unwrap)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "{what} does not happen");
        thread::yield_now();
    }
}

fn is_gone(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).unwrap()).is_err()
}

#[test]
fn output_and_exit_code_are_the_commands_own() {
    let server = Fake::start();
    for code in [0, 1, 44, 255] {
        let script = format!("echo out; echo err >&2; exit {code}");
        let outcome = result(&mut remex(&server, ["run", "--shell", &script]));
        assert_eq!(outcome, (code, "out\n".into(), "err\n".into()));
    }
    let bytes = remex(&server, ["run", "--", "printf", r"\377\0\n\033[2J"])
        .output()
        .unwrap();
    assert_eq!(bytes.stdout, b"\xff\0\n\x1b[2J");
}

#[test]
fn other_endings_have_the_exit_codes_of_the_contract() {
    let server = Fake::start();
    for (args, status, said) in [
        (&["--shell", "kill -9 $$"][..], 137, ""),
        (&["--timeout", "100ms", "--", "cat", "/dev/zero"], 124, ""),
        (&["--", "/no/such/program"], 127, "PROGRAM_NOT_FOUND"),
        (&["--", "/"], 126, "PROGRAM_NOT_EXECUTABLE"),
        (&["--", "fake:exit", "0", "0", "3"], 255, "run it again"),
        (&["--", "fake:exit", "0", "0", "4"], 255, "shut down"),
        (
            &["--", "fake:exit", "-1", "0", "6"],
            255,
            "may or may not have run",
        ),
        (
            &["--", "fake:exit", "-1", "0", "7"],
            255,
            "how it ended was lost",
        ),
        (
            &["--", "fake:exit", "-1", "0", "8"],
            255,
            "machine went down",
        ),
    ] {
        let mut command = remex(&server, [&["run"], args].concat());
        command.stdout(Stdio::null());
        let (code, _, stderr) = result(&mut command);
        assert_eq!(code, status, "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{stderr}");
        assert_eq!(
            stderr.lines().count(),
            usize::from(!said.is_empty()),
            "{stderr}"
        );
    }
}

#[test]
fn failures_of_remex_itself_are_255_and_one_line() {
    let server = Fake::start();
    for args in [
        &["fly"][..],
        &["run"],
        &["run", "--request-id", "x", "--", "true"],
        &["run", "--env", "SURELY_NOT_SET_HERE", "--", "true"],
        &["run", "-t", "--", "true"],
        &["wait", "nobody"],
        &["kill", "nobody"],
        &["ps", "--server", "unix:/no/such/socket"],
        &["legacy", "127.0.0.1:1", "x"],
    ] {
        let (code, stdout, stderr) = result(&mut remex(&server, args));
        assert_eq!((code, stdout.as_str()), (255, ""), "{args:?}: {stderr}");
        assert!(
            stderr.starts_with("remex: ") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}

#[test]
fn stdin_is_forwarded_from_pipes_and_files() {
    let server = Fake::start();
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    let mut child = remex(&server, ["run", "--", "cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = thread::spawn(move || stdin.write_all(&sent));
    assert!(output_of(child).stdout == data);
    writer.join().unwrap().unwrap();

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&data).unwrap();
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).unwrap();
    let child = remex(&server, ["run", "cat"]).stdin(file).spawn().unwrap();
    assert!(output_of(child).stdout == data);
}

#[test]
fn an_idle_stdin_holds_up_no_exit() {
    let server = Fake::start();
    let mut child = remex(&server, ["run", "--", "true"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let idle = child.stdin.take();
    assert!(output_of(child).status.success());
    drop(idle);
}

#[test]
fn with_no_stdin_none_is_taken() {
    let server = Fake::start();
    let script = r#"while read -r word; do "$0" run -n -- sh -c 'cat; echo "$1"' sh "$word"; done"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_remex")]);
    shell.env("REMEX_SERVER", server.endpoint.to_string());
    shell.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"one\ntwo\n")
        .unwrap();
    assert_eq!(output_of(child).stdout, b"one\ntwo\n");
}

#[test]
fn a_reader_that_goes_ends_both_ends() {
    let server = Fake::start();
    let mut command = remex(&server, ["run", "--shell", "echo $$; exec yes"]);
    let mut child = command.spawn().unwrap();
    let pid = lines(&mut child).next().unwrap().parse().unwrap();
    let output = output_of(child);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(141), 0));
    wait_until("the end of the command", || is_gone(pid));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let server = Fake::start();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let (code, _, stderr) = result(remex(&server, ["run", "echo", "x"]).stdout(full));
    assert_eq!(code, 255);
    assert!(stderr.contains("cannot write the output"), "{stderr}");
}

#[test]
fn signals_are_forwarded() {
    let server = Fake::start();
    for (name, signal) in [
        ("INT", Signal::INT),
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
    ] {
        let script =
            format!("trap 'echo {name}; exit 9' {name}; echo ready; while :; do sleep 0.01; done");
        let mut child = remex(&server, ["run", "--shell", &script]).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut lines = lines(&mut child);
        assert_eq!(lines.next().unwrap(), "ready");
        kill_process(pid, signal).unwrap();
        assert_eq!(lines.next().unwrap(), name);
        assert_eq!(output_of(child).status.code(), Some(9));
    }
}

#[test]
fn the_third_interrupt_kills() {
    let server = Fake::start();
    let script = "trap 'echo no' INT; echo $$; while :; do sleep 0.01; done";
    let mut child = remex(&server, ["run", "--shell", script]).spawn().unwrap();
    let local = Pid::from_child(&child);
    let mut lines = lines(&mut child);
    let pid = lines.next().unwrap().parse().unwrap();
    for _ in 0..2 {
        kill_process(local, Signal::INT).unwrap();
        assert_eq!(lines.next().unwrap(), "no");
    }
    kill_process(local, Signal::INT).unwrap();
    assert_eq!(output_of(child).status.code(), Some(130));
    wait_until("the end of the command", || is_gone(pid));
}

#[test]
fn a_signal_before_the_command_runs_ends_remex() {
    let server = Fake::start();
    // Takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", silent.local_addr().unwrap());
    let child = remex(&server, ["run", "--server", &uri, "--", "true"])
        .spawn()
        .unwrap();
    let _connection = silent.accept().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(output_of(child).status.code(), Some(130));
}

#[test]
fn what_nohup_ignores_stays_ignored() {
    let server = Fake::start();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"trap '' HUP; exec "$0" run --shell 'echo ready; cat'"#,
    ]);
    command
        .arg(env!("CARGO_BIN_EXE_remex"))
        .env("REMEX_SERVER", server.endpoint.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let pid = Pid::from_child(&child);
    let mut lines = lines(&mut child);
    assert_eq!(lines.next().unwrap(), "ready");
    kill_process(pid, Signal::HUP).unwrap();
    stdin.write_all(b"alive\n").unwrap();
    assert_eq!(lines.next().unwrap(), "alive");
    drop(stdin);
    assert!(output_of(child).status.success());
}

#[test]
fn a_lost_connection_is_told() {
    let server = Fake::start();
    let mut child = remex(
        &server,
        [
            "run",
            "--shell",
            "echo ready; exec cat /dev/zero >/dev/null",
        ],
    )
    .spawn()
    .unwrap();
    assert_eq!(lines(&mut child).next().unwrap(), "ready");
    drop(server);
    let output = output_of(child);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(255), "{stderr}");
    assert!(
        stderr.contains("check what it did") && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn options_reach_the_command() {
    let server = Fake::start();
    let script = "pwd; echo $A $B $C";
    let args = [
        "run", "--cwd", "/", "--env", "A=1=2", "--env", "B", "--env", "C=", "--shell", script,
    ];
    let outcome = result(remex(&server, args).env("B", "local"));
    assert_eq!(outcome, (0, "/\n1=2 local\n".into(), String::new()));
}

#[test]
fn json_tells_each_event_on_a_line() {
    let server = Fake::start();
    let args = ["run", "--json", "--shell", r"printf '\377'; exit 3"];
    let (code, stdout, _) = result(&mut remex(&server, args));
    assert_eq!(code, 3);
    let events: Vec<serde_json::Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 3, "{stdout}");
    assert_eq!(
        (&events[0]["event"], &events[0]["execution_id"]),
        (&"started".into(), &"exec-1".into())
    );
    assert_eq!(
        (&events[1]["stream"], &events[1]["data_base64"]),
        (&"stdout".into(), &"/w==".into())
    );
    assert_eq!(
        (&events[2]["event"], &events[2]["exit_code"]),
        (&"exited".into(), &3.into())
    );
}

#[test]
fn executions_are_listed_waited_for_and_signalled() {
    let server = Fake::start();
    let mut child = remex(&server, ["run", "--shell", "echo ready; cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    assert_eq!(lines(&mut child).next().unwrap(), "ready");
    let (code, table, _) = result(&mut remex(&server, ["ps"]));
    assert_eq!(code, 0);
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        (row[0], row[1], row[4]),
        ("exec-1", "running", "unix:1000"),
        "{table}"
    );
    let waiting = remex(&server, ["wait", "exec-1"]).spawn().unwrap();
    let outcome = result(&mut remex(&server, ["kill", "-s", "SIGKILL", "exec-1"]));
    assert_eq!(outcome, (0, String::new(), String::new()));
    let waited = output_of(waiting);
    assert_eq!(
        (
            waited.status.code(),
            waited.stdout.len(),
            waited.stderr.len()
        ),
        (Some(137), 0, 0)
    );
    assert_eq!(output_of(child).status.code(), Some(137));
    drop(stdin);
    result(&mut remex(&server, ["run", "true"]));
    let (_, table, _) = result(&mut remex(&server, ["ps"]));
    let ids: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(ids, ["ID", "exec-2", "exec-1"]);
    let (code, _, stderr) = result(&mut remex(&server, ["kill", "exec-1"]));
    assert_eq!(code, 255);
    assert!(stderr.contains("EXECUTION_ENDED"), "{stderr}");
}

#[test]
fn echo_and_ping_answer() {
    let server = Fake::start();
    let outcome = result(&mut remex(&server, ["echo", "hi \u{1b}[2J"]));
    assert_eq!(outcome, (0, "HI \\x1b[2J\n".into(), String::new()));
    let (code, stdout, _) = result(&mut remex(&server, ["ping"]));
    let said = format!("{}: remexd {}, ", server.endpoint, remex::VERSION);
    assert!(code == 0 && stdout.starts_with(&said), "{stdout}");
}

#[tokio::test]
async fn ping_waits_for_the_server() {
    let server = Fake::start();
    let port = server.port();
    let mut command = remex(&server, ["ping", "--wait", "30s"]);
    let hopeless = remex(&server, ["ping", "--wait", "10ms"]).spawn().unwrap();
    assert!(output_of(hopeless).status.success());
    server.stop().await;
    let child = command.spawn().unwrap();
    let server = Fake::on(([127, 0, 0, 1], port).into());
    assert!(output_of(child).status.success());
    let mut hopeless = remex(&server, ["ping", "--wait", "10ms"]);
    server.stop().await;
    assert_eq!(
        output_of(hopeless.spawn().unwrap()).status.code(),
        Some(255)
    );
}

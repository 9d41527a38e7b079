//! `remex run` is interrupted: by signals, by a reader that goes, by a server that goes.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{is_gone, lines, output_of, remex, wait_until};
use crate::fake::Fake;

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

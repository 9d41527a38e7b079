//! The example clients in Python and Go, once their `build.sh` has made the stubs.

use std::{
    io::Write,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cli::{is_gone, lines, output_of, result, wait_until},
    fake::Fake,
};

/// `file` of an example that its `build.sh` has made; `None`, with a message, if it has not and need not have.
fn built(language: &str, file: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(language);
    if folder.join("gen/sum").exists() {
        return Some(folder.join(file));
    }
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "{language}: run build.sh first"
    );
    eprintln!("skipped: examples/{language} has not been built");
    None
}

/// One of the clients in Python, at `server`.
fn python(script: &str, server: &str) -> Option<Command> {
    let mut command = Command::new(built("python", ".venv/bin/python")?);
    command
        .arg(built("python", script)?)
        .args(["--server", server]);
    Some(command)
}

/// An example's client; `None` if it has not been built and need not have been.
fn example(language: &str, server: &Fake) -> Option<Command> {
    let address = server.endpoint.authority();
    let mut command = if language == "python" {
        python("remex_run.py", &address)?
    } else {
        let mut command = Command::new(built(language, "gen/remex-run")?);
        command.args(["-server", &address]);
        command
    };
    command.arg("--");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

fn check(language: &str) {
    let server = Fake::start();
    for (argv, code, stdout, said) in [
        (
            &["sh", "-c", "echo out; echo err >&2; exit 7"][..],
            7,
            "out\n",
            "err\n",
        ),
        (&["sh", "-c", "kill -9 $$"], 137, "", ""),
        (&["/no/such/program"], 127, "", "PROGRAM_NOT_FOUND"),
        (&["fake:exit", "0", "0", "4"], 255, "", "REASON_SHUTDOWN"),
    ] {
        let Some(mut command) = example(language, &server) else {
            return;
        };
        let outcome = result(command.args(argv));
        assert_eq!(
            (outcome.0, outcome.1.as_str()),
            (code, stdout),
            "{}",
            outcome.2
        );
        assert!(outcome.2.contains(said), "{}", outcome.2);
    }
    let Some(mut command) = example(language, &server) else {
        return;
    };
    let data: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 253) as u8).collect();
    let mut child = command.arg("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = data.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    assert!(output_of(child).stdout == data);
    writer.join().unwrap().unwrap();

    let Some(mut command) = example(language, &server) else {
        return;
    };
    let script = "trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done";
    let mut child = command
        .args(["sh", "-c", script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let idle = child.stdin.take();
    let mut lines = lines(&mut child);
    assert_eq!(lines.next().unwrap(), "ready");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(output_of(child).status.code(), Some(9));
    drop(idle);
}

#[test]
fn the_python_client_runs_commands() {
    check("python");
}

#[test]
fn the_go_client_runs_commands() {
    check("go");
}

#[test]
fn the_python_clients_call_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("remexd.sock");
    let _server = Fake::unix(UnixListener::bind(&path).unwrap(), &path);
    let server = format!("unix:{}", path.display());
    let Some(mut command) = python("remex_run.py", &server) else {
        return;
    };
    command.args(["--", "echo", "hello"]).stdin(Stdio::null());
    let outcome = result(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(outcome, (0, "hello\n".into(), String::new()));
    let Some(mut command) = python("cancel.py", &server) else {
        return;
    };
    command.args(["1", "echo", "hello"]).stdin(Stdio::null());
    let outcome = result(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(outcome, (0, "hello\n".into(), String::new()));
}

#[test]
fn breaking_off_in_asyncio_ends_the_command() {
    let server = Fake::start();
    let Some(mut command) = python("cancel.py", &server.endpoint.authority()) else {
        return;
    };
    command.args(["3", "sh", "-c", "echo $$; exec yes"]);
    let outcome = result(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let (pid, rest) = outcome.1.split_once('\n').unwrap();
    assert_eq!((outcome.0, rest, &*outcome.2), (0, "y\ny\n", ""));
    let pid = pid.parse().unwrap();
    wait_until("the end of the command", || is_gone(pid));
}

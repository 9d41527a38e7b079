//! The example clients in Python and Go, once their `build.sh` has made the stubs.

use std::{
    ffi::OsStr,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cli::{lines, output_of, result},
    fake::Fake,
};

/// An example's client; `None`, with a message, if it has not been built and need not have been.
fn example(language: &str, server: &Fake) -> Option<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(language);
    if !folder.join("gen/sum").exists() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "{language}: run build.sh first"
        );
        eprintln!("skipped: examples/{language} has not been built");
        return None;
    }
    let mut command = match language {
        "python" => {
            let mut command = Command::new(folder.join(".venv/bin/python"));
            command.arg(folder.join("remex_run.py"));
            command
        }
        _ => Command::new(folder.join("gen/remex-run")),
    };
    let address = server.endpoint.authority();
    let option = if language == "python" {
        "--server"
    } else {
        "-server"
    };
    command.args([option, &address, "--"].map(OsStr::new));
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

//! A caller whose gRPC library retries by itself, as many are set up to: a command that was started is not started again.

use std::{fs, path::Path, process::Stdio};

use remex::v1::{Command as CommandMessage, StartRequest, event::Kind};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{ChildStdout, Command},
};

use crate::harness::{Daemon, Home, Marker, examples::example, soon};

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = soon("a line of the caller's", lines.next_line()).await;
    line.expect("text").expect("a line")
}

#[tokio::test]
async fn pitfall_21_a_connection_that_is_lost_under_a_command_has_nobody_run_it_again() {
    let python = skip_unless!(example("python"));
    let home = Home::new();
    let (socket, ran, marker) = (home.path("socket"), home.path("ran"), Marker::new());
    let listen = format!("unix:{}", socket.display());
    let flags = ["--listen", &listen];
    let mut daemon = Daemon::start_in(&home, &flags).await;

    // Something for Wait to wait for.
    let request = StartRequest {
        command: Some(CommandMessage {
            argv: vec!["sleep".into(), marker.to_string()],
            ..CommandMessage::default()
        }),
        ..StartRequest::default()
    };
    let started = daemon.client().await.exec().start(request).await;
    let mut events = started.expect("it starts").into_inner();
    let first = events.message().await.expect("a message");
    let Some(Kind::Started(started)) = first.and_then(|first| first.event?.kind) else {
        panic!("started comes first");
    };

    let mut caller = Command::new(python.join(".venv/bin/python"))
        .env("PYTHONPATH", python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/retry.py"))
        .args([&socket, Path::new(&started.execution_id)])
        .arg(format!("echo ran >>{}; exec sleep {marker}", ran.display()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python runs");
    let mut lines = BufReader::new(caller.stdout.take().expect("its stdout")).lines();
    assert_eq!(line(&mut lines).await, "headers");
    daemon.signal(Signal::KILL);
    daemon.wait().await;

    let daemon = Daemon::start_in(&home, &flags).await;
    // It does retry: the next server knows nothing of what Wait asks for.
    assert_eq!(line(&mut lines).await, "Wait NOT_FOUND");
    assert_eq!(line(&mut lines).await, "Run UNAVAILABLE");
    soon("the caller's end", caller.wait())
        .await
        .expect("its status");
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "ran\n");
    daemon.stop().await;
}

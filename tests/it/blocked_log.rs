//! A stderr and a stdout that nobody reads hold up neither serving nor exiting: PITFALLS 49.

use std::{
    io::{PipeReader, PipeWriter, Read, Write},
    os::fd::AsFd,
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use remex::v1::{Command, RunRequest, StartRequest};
use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::Signal,
};

use crate::{
    harness::{Daemon, Home, Marker, PATIENCE, soon},
    signals::is_draining,
};

/// Of remexd's, after the second signal; and some for a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Commands enough for more log lines than wait.
const RUNS: usize = 400;

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

/// A daemon that logs all there is to log, into such a pipe.
async fn start(home: &Home, flags: &[&str]) -> (Daemon, PipeReader) {
    let (reader, writer) = full_pipe();
    let mut command = home.remexd(&[&["--log-level", "trace"], flags].concat());
    let stdio = |writer: &PipeWriter| Stdio::from(writer.as_fd().try_clone_to_owned().unwrap());
    command.stdout(stdio(&writer)).stderr(stdio(&writer));
    (Daemon::spawn_as_it_is(home, command).await, reader)
}

async fn run(daemon: &Daemon, times: usize) {
    let client = daemon.client().await;
    for _ in 0..times {
        let request = RunRequest {
            command: Some(Command {
                shell: "echo served".to_owned(),
                ..Command::default()
            }),
            ..RunRequest::default()
        };
        let answer = soon("a run", client.exec().run(request)).await.unwrap();
        assert_eq!(answer.get_ref().stdout_data, "served\n");
    }
}

#[tokio::test]
async fn pitfall_49_a_blocked_log_stops_neither_serving_nor_exiting() {
    let home = Home::new();
    let (mut daemon, _reader) = start(&home, &[]).await;
    run(&daemon, RUNS).await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await.code(), Some(0));
}

#[tokio::test]
async fn pitfall_49_a_blocked_log_does_not_hold_up_a_second_signal() {
    let home = Home::new();
    let (mut daemon, _reader) = start(&home, &["--drain-timeout", "10m"]).await;
    let marker = Marker::new();
    let client = daemon.client().await;
    let request = StartRequest {
        command: Some(Command {
            shell: format!("trap '' TERM; while :; do sleep {marker}; done"),
            ..Command::default()
        }),
        ..StartRequest::default()
    };
    let mut events = client.exec().start(request).await.unwrap().into_inner();
    soon("its start", events.message()).await.unwrap();
    daemon.signal(Signal::TERM);
    is_draining(&client).await;
    let sent = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await.code(), Some(128 + 15));
    assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
    marker.is_gone().await;
}

#[tokio::test]
async fn pitfall_49_lines_that_were_dropped_are_counted() {
    let home = Home::new();
    let (daemon, mut reader) = start(&home, &["--log-format", "json"]).await;
    run(&daemon, RUNS).await;
    // The lines up to the one that counts; reading on is what makes it flow again.
    let (send, received) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = reader.read(&mut bytes) {
            if send.send(bytes[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut log = Vec::new();
    let found = loop {
        log.extend(received.recv_timeout(PATIENCE).unwrap());
        let text = String::from_utf8_lossy(&log);
        let line = text.lines().find(|line| line.contains("were dropped"));
        if let Some(Ok(line)) = line.map(serde_json::from_str::<serde_json::Value>) {
            break line;
        }
    };
    assert!(found["fields"]["dropped"].as_u64().unwrap() > 0, "{found}");
    daemon.stop().await;
}

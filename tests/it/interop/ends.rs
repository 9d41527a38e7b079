//! How commands end, and what a client makes of it: signals, timeouts, callers that go.

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use super::language::{Language, finished, started, told};
use crate::harness::{Daemon, Marker, soon};

/// It has no name, in the API as elsewhere: a client has to go by its number.
pub(crate) async fn a_real_time_signal(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let client = language.call(&daemon, "run", &[], &["sh", "-c", "kill -37 $$"]);
    let output = finished(client).await;
    assert_eq!(output.status.code(), Some(128 + 37), "{output:?}");
    daemon.stop().await;
}

/// Waits for its first line, which is "ready".
async fn is_ready(client: &mut Child) {
    let stdout = client.stdout.as_mut().expect("its stdout");
    let mut lines = BufReader::new(stdout).lines();
    let line = soon("a line", lines.next_line()).await.expect("text");
    assert_eq!(line.as_deref(), Some("ready"));
}

fn send(client: &Child, signal: Signal) {
    let pid = client.id().expect("it has not ended").cast_signed();
    kill_process(Pid::from_raw(pid).expect("a pid"), signal).expect("it has not ended");
}

pub(crate) async fn a_signal_is_passed_on(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    for (name, signal) in [("INT", Signal::INT), ("TERM", Signal::TERM)] {
        let text = format!("trap 'exit 9' {name}; echo ready; while :; do sleep 0.05; done");
        let mut client = started(language.call(&daemon, "run", &[], &["sh", "-c", &text]));
        // It stays open: to wait for a child closes what it holds.
        let stdin = client.stdin.take();
        is_ready(&mut client).await;
        send(&client, signal);
        let status = soon("the end", client.wait()).await.expect("a status");
        assert_eq!(status.code(), Some(9), "{name}");
        drop(stdin);
    }
    daemon.stop().await;
}

pub(crate) async fn a_timeout(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let marker = Marker::new();
    let argv = ["sleep", &marker.to_string()];
    let output = finished(language.call(&daemon, "run", &["--timeout", "0.2"], &argv)).await;
    assert_eq!(output.status.code(), Some(124), "{output:?}");
    marker.is_gone().await;
    daemon.stop().await;
}

/// A command with children, one of which left its session.
fn tree(marker: &Marker) -> String {
    format!("setsid sleep {marker} & sleep {marker} & echo ready; wait")
}

/// The client that broke off asks how the command ended: that it did is no work of the connection's end.
pub(crate) async fn breaking_off_ends_the_whole_tree(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let marker = Marker::new();
    let argv = ["sh", "-c", &tree(&marker)];
    let output = finished(language.call(&daemon, "head", &["--lines", "1"], &argv)).await;
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, &*stdout), (Some(0), "ready\n"), "{stderr}");
    assert!(stderr.to_lowercase().contains("disconnect"), "{stderr}");
    assert!(marker.processes().is_empty(), "{:?}", marker.processes());
    // Of a command that ended by itself before, nothing is broken off.
    let output = finished(language.call(&daemon, "head", &[], &["echo", "all"])).await;
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, &*stdout), (Some(0), "all\n"), "{stderr}");
    assert!(stderr.to_lowercase().contains("self"), "{stderr}");
    daemon.stop().await;
}

pub(crate) async fn a_client_that_is_killed_takes_its_tree_along(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let marker = Marker::new();
    let argv = ["sh", "-c", &tree(&marker)];
    let mut client = started(language.call(&daemon, "run", &[], &argv));
    is_ready(&mut client).await;
    send(&client, Signal::KILL);
    soon("the end", client.wait()).await.expect("a status");
    marker.is_gone().await;
    daemon.stop().await;
}

pub(crate) async fn the_server_shuts_down(language: &Language) {
    let mut daemon = Daemon::start(&["--drain-timeout", "0s"]).await;
    let text = "echo ready; while :; do sleep 0.05; done";
    let mut client = started(language.call(&daemon, "run", &[], &["sh", "-c", text]));
    is_ready(&mut client).await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await.code(), Some(0));
    let output = soon("the end", client.wait_with_output()).await;
    let (code, _, stderr) = told(&output.expect("its output"));
    assert_eq!(code, Some(255), "{stderr}");
    assert!(stderr.to_lowercase().contains("shutdown"), "{stderr}");
}

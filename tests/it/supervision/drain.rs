//! After the leader's end: what others write is waited for, under a bound that a slow reader stretches; and timeouts.

use std::time::Duration;

use remex::v1::{RunRequest, exit::Reason};

use super::support::{RequestExt, Server, argv, shell};
use crate::harness::{Marker, soon};

/// Longer than what others that hold the output open are waited for.
const HOLD_UP: Duration = Duration::from_millis(1500);

/// What is read of a stream beyond what was there at the leader's end.
const BEYOND_BYTES: usize = 1 << 20;

/// The most that a pipe holds.
const PIPE_BYTES: usize = 1 << 20;

/// One that writes without a pause, one with.
async fn writes_for_ever(server: Server) {
    for pause in ["", "sleep 0.02;"] {
        let marker = Marker::new();
        let text = format!("sh -c 'while echo x; do {pause} :; done' {marker} & echo done; exit 3");
        let record = server.run(shell(text)).await;
        assert!(record.text().contains("done\n"));
        assert_eq!(record.ending(), (3, 0, Reason::Self_));
        // The read end is closed, so its next write ends it.
        marker.is_gone().await;
    }
    // Into one answer, and faster than it is read.
    let marker = Marker::new();
    let text = format!("yes {marker} & exit 3");
    let run = RunRequest {
        command: shell(text).command,
        ..RunRequest::default()
    };
    let response = soon("a run", server.exec().run(run)).await.unwrap();
    assert_eq!(response.get_ref().exit.unwrap().code, Some(3));
    marker.is_gone().await;
    server.daemon.stop().await;
}

/// What a grandchild writes while the reader holds it up is read, however long that is, up to a bound in bytes.
async fn slow_reader(server: Server) {
    let marker = Marker::new();
    let text = format!("yes {marker} & read line; exit 3");
    let mut running = server.begin(shell(text).stdin_open()).await;
    let held_up = server.held_up(&running.id).await;
    running.write(b"\n").await;
    while running.leader_lives() {
        tokio::task::yield_now().await;
    }
    // A reader that is slow is what this is about; no other time decides anything.
    tokio::time::sleep(HOLD_UP).await;
    assert!(running.record().stdout.is_empty());
    while running.next().await.is_some() {}
    let sent = running.record().stdout.len();
    assert!(sent >= held_up + BEYOND_BYTES, "{sent} of {held_up}");
    assert!(
        sent <= held_up + PIPE_BYTES + BEYOND_BYTES,
        "{sent} of {held_up}"
    );
    assert_eq!(running.record().ending(), (3, 0, Reason::Self_));
    marker.is_gone().await;
    server.daemon.stop().await;
}

async fn unread_stdin(server: Server) {
    let marker = Marker::new();
    let request = argv(["sleep", &marker.to_string()]).stdin(vec![b'x'; 3 << 20]);
    let record = server.run(request.timeout(200)).await;
    assert_eq!(record.ending(), (-1, 15, Reason::Timeout));
    marker.is_gone().await;
    server.daemon.stop().await;
}

/// The command is gone in time, and what it wrote is there for a reader who comes back.
async fn client_does_not_read(server: Server) {
    let marker = Marker::new();
    let request = argv(["yes", &marker.to_string()]).timeout(500);
    let mut running = server.begin(request).await;
    let pid = running.pid;
    marker.is_gone().await;
    assert!(running.record().stdout.is_empty(), "{pid}");
    while running.next().await.is_some() {}
    assert!(running.record().stdout.len() > 64 << 10);
    assert_eq!(running.record().ending(), (-1, 15, Reason::Timeout));
    server.daemon.stop().await;
}

async fn term_is_ignored(server: Server) {
    let marker = Marker::new();
    let text = format!("trap '' TERM; setsid sleep {marker} & while :; do sleep {marker}; done");
    let record = server.run(shell(text).timeout(200).kill_after(100)).await;
    assert_eq!(record.ending(), (-1, 9, Reason::Timeout));
    marker.is_gone().await;
    // Who minds it ends with a code of its own, and TIMEOUT is still why.
    let text = "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done";
    let record = server.run(shell(text).timeout(300)).await;
    assert_eq!(record.text(), "ready\nbye\n");
    assert_eq!(record.ending(), (4, 0, Reason::Timeout));
    server.daemon.stop().await;
}

/// A stopped process acts on TERM only when it is continued.
async fn stopped(server: Server) {
    let marker = Marker::new();
    let text = format!("sleep {marker} & kill -STOP $! $$; sleep {marker}");
    let record = server
        .run(shell(text).timeout(200).kill_after(60_000))
        .await;
    assert_eq!(record.ending(), (-1, 15, Reason::Timeout));
    marker.is_gone().await;
    server.daemon.stop().await;
}

with_each_containment! {
    pitfall_03_a_grandchild_that_writes_for_ever_is_cut_off => writes_for_ever;
    pitfall_03_a_slow_reader_stops_the_clock_of_the_drain => slow_reader;
    pitfall_04_a_timeout_with_an_unread_stdin_ends_the_call => unread_stdin;
    pitfall_04_a_timeout_while_the_client_does_not_read_ends_the_command => client_does_not_read;
    a_timeout_is_term_and_then_kill => term_is_ignored;
    a_timeout_ends_what_is_stopped => stopped;
}

//! One command's floods, left-overs and hang-ups take nothing from another, nor from its own other stream.

use std::time::{Duration, Instant};

use remex::{
    error::Reason as Refusal,
    v1::{RunRequest, event::Kind, exit::Reason},
};
use rustix::process::Signal;
use tonic::Code;

use super::support::{RequestExt, Server, argv, children_of, shell};
use crate::harness::{Marker, eventually, soon};

/// What an honest call may take beside what is tried here; it takes milliseconds.
const HONEST: Duration = Duration::from_secs(5);

/// A server whose workers spin answers nobody, and burns this much CPU time in no time.
const SPINNING: Duration = Duration::from_secs(1);

/// stderr, and the end, arrive beside a flood on stdout that outlives the leader, as fast as the reader reads.
async fn flood_beside_stderr(server: Server) {
    let marker = Marker::new();
    let text = format!("yes {marker} & sleep .5; echo ERR >&2; exit 7");
    let mut running = server.begin(shell(text)).await;
    let mut read_behind_stderr = None;
    loop {
        match running.next().await {
            None => break,
            Some(Kind::Output(output)) => {
                if let Some(read) = &mut read_behind_stderr {
                    *read += output.data.len();
                } else if running.record().stderr == b"ERR\n" {
                    read_behind_stderr = Some(0);
                }
                running.forget();
            }
            Some(_) => {}
        }
    }
    assert_eq!(running.record().ending(), (7, 0, Reason::Self_));
    assert!(running.record().exit().output_left_open);
    // What was in the pipe at the leader's end, 1 MiB beyond it, and what was on its way.
    let most = 5 << 20;
    let read = read_behind_stderr.expect("stderr has come");
    assert!(read < most, "{read} bytes of the flood came behind stderr");
    marker.is_gone().await;
    server.daemon.stop().await;
}

with_each_containment! {
    pitfall_46_a_flood_on_stdout_neither_starves_stderr_nor_lasts => flood_beside_stderr;
}

/// A drain meets a leader that has ended, whose reader is slow: what is missing is said, and no exit goes with it.
#[tokio::test]
async fn pitfall_47_output_that_a_shutdown_cuts_is_no_success() {
    const BYTES: usize = 64 << 20;
    let server = Server::start(&["--drain-timeout", "100ms"]).await;
    // The flood holds the reader's windows and the pipe full when the leader has ended.
    let text = format!("yes & head -c {BYTES} /dev/zero >&2 & read line; exit 0");
    let mut running = server.begin(shell(text).stdin_open()).await;
    server.held_up(&running.id).await;
    running.write(b"\n").await;
    while running.leader_lives() {
        tokio::task::yield_now().await;
    }
    server.daemon.signal(Signal::TERM);
    let mut server = server;
    assert_eq!(server.daemon.wait().await.code(), Some(0));
    let error = loop {
        match running.message().await {
            Ok(Some(message)) => {
                let kind = message.event.and_then(|event| event.kind);
                assert!(!matches!(kind, Some(Kind::Exited(_))), "{kind:?}");
            }
            Ok(None) => panic!("it ended well, without all of its output"),
            Err(error) => break error,
        }
    };
    // The connection may be gone before the status has room behind the data.
    let cut = Refusal::of(&error) == Some(Refusal::OutputCut);
    assert!(
        cut || error.code() == Code::Unavailable || error.code() == Code::Unknown,
        "{error:?}"
    );
}

/// stdin is left over when the last holder of a terminal lets go of it: the server neither spins nor stops for others.
#[tokio::test]
async fn pitfall_48_stdin_left_over_on_a_terminal_spins_nothing() {
    let server = Server::start(&[]).await;
    let lines = "a line of stdin that nobody reads\n".repeat(500);
    for text in [
        "exec <&- >&- 2>&-; sleep 3",
        "head -1; exec <&- >&- 2>&-; sleep 3",
        "stty raw -echo; exec <&- >&- 2>&-; sleep 3",
        "setsid sleep 3 & exec <&- >&- 2>&-; sleep 3",
    ] {
        let before = server.cpu_time();
        let mut calls = Vec::new();
        for _ in 0..4 {
            let request = shell(text).on_terminal().stdin(lines.clone());
            calls.push(server.begin(request).await);
        }
        for call in calls {
            let asked = Instant::now();
            let request = RunRequest {
                command: argv(["true"]).command,
                ..RunRequest::default()
            };
            let run = soon("another's run", server.exec().run(request)).await;
            assert_eq!(run.unwrap().get_ref().exit.as_ref().unwrap().code, Some(0));
            assert!(asked.elapsed() < HONEST, "{text}: {:?}", asked.elapsed());
            assert_eq!(call.end().await.ending(), (0, 0, Reason::Self_), "{text}");
        }
        let spent = server.cpu_time().saturating_sub(before);
        assert!(spent < SPINNING, "{text}: {spent:?} of CPU time");
    }
    let remexd = server.daemon.pid().as_raw_nonzero().get();
    eventually("the end of its children", || {
        children_of(remexd).is_empty().then_some(())
    })
    .await;
    server.daemon.stop().await;
}

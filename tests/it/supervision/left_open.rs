//! Output that others hold open after their leader's exit: `Command.drain` and `Exit.output_left_open`.

use remex::{
    error::Reason as Refusal,
    v1::{self, GetRequest, RunRequest, StartRequest, command::Drain, exit::Reason},
};

use super::support::{RequestExt, Server, shell};
use crate::harness::{Marker, eventually, soon};

trait DrainExt {
    fn drain(self, drain: Drain) -> Self;
}

impl DrainExt for StartRequest {
    fn drain(self, drain: Drain) -> Self {
        self.with(|command| command.set_drain(drain))
    }
}

/// By default the read ends close after a while, and the exit says that something held them.
async fn bounded(server: Server) {
    for drain in [Drain::Unspecified, Drain::Bounded] {
        let marker = Marker::new();
        let text = format!("sleep {marker} & echo out; exit 3");
        let record = server.run(shell(&text).drain(drain)).await;
        assert_eq!(record.text(), "out\n");
        assert_eq!(record.ending(), (3, 0, Reason::Self_));
        assert!(record.exit().output_left_open);
        let run = RunRequest {
            command: shell(&text).drain(drain).command,
            ..RunRequest::default()
        };
        let ran = soon("a run", server.exec().run(run)).await.unwrap();
        assert!(ran.into_inner().exit.unwrap().output_left_open);
        // What it left in the background runs on.
        marker.kill();
        marker.is_gone().await;
    }
    for text in ["echo out", "sleep 1000 >/dev/null 2>&1 & echo out; kill $!"] {
        let record = server.run(shell(text)).await;
        assert!(!record.exit().output_left_open, "{text}");
    }
    server.daemon.stop().await;
}

/// As with ssh: nothing is over before end of file, and the code is the leader's.
async fn to_the_end(server: Server) {
    let text = "(sleep 1.5; echo late; sleep 0.2; echo last >&2) & echo out; exit 3";
    let running = server.begin(shell(text).drain(Drain::Eof)).await;
    let request = GetRequest {
        execution_id: running.id.clone(),
        ..GetRequest::default()
    };
    let got = soon("a record", server.exec().get(request)).await.unwrap();
    let command = got.into_inner().execution.unwrap().command.unwrap();
    assert_eq!(command.drain(), Drain::Eof);
    let record = running.end().await;
    assert_eq!(record.text(), "out\nlate\n");
    assert_eq!(record.stderr, b"last\n");
    assert_eq!(record.ending(), (3, 0, Reason::Self_));
    assert!(!record.exit().output_left_open);
    server.daemon.stop().await;
}

/// The timeout holds until then, and ends the tree.
async fn timed(server: Server) {
    let marker = Marker::new();
    let text = format!("sleep {marker} & echo out; exit 3");
    let request = shell(text).drain(Drain::Eof).timeout(700);
    let record = server.run(request).await;
    assert_eq!(record.text(), "out\n");
    assert_eq!(record.ending(), (3, 0, Reason::Timeout));
    assert!(!record.exit().output_left_open);
    marker.is_gone().await;
    server.daemon.stop().await;
}

/// So does its caller's going.
async fn left(server: Server) {
    let marker = Marker::new();
    let text = format!("sleep {marker} & echo out; exit 3");
    let mut running = server.begin(shell(text).drain(Drain::Eof)).await;
    running.until("out\n").await;
    // The shell may say that before its child is what it is to be.
    eventually("the child", || {
        (!marker.processes().is_empty()).then_some(())
    })
    .await;
    drop(running);
    marker.is_gone().await;
    server.daemon.stop().await;
}

with_each_containment! {
    a_bounded_drain_says_what_it_left_open => bounded;
    a_drain_to_the_end_waits_for_end_of_file => to_the_end;
    a_timeout_ends_a_drain_to_the_end => timed;
    a_caller_who_leaves_ends_a_drain_to_the_end => left;
}

#[tokio::test]
async fn another_number_is_no_drain() {
    let server = Server::start(&[]).await;
    let request = shell("true").with(|command: &mut v1::Command| command.drain = 7);
    let status = server.refusal(request).await;
    assert_eq!(Refusal::of(&status), Some(Refusal::InvalidField));
    assert!(status.message().contains("command.drain"), "{status}");
    server.daemon.stop().await;
}

//! remexd is killed, and the next one finds what the first has left: as if nothing had been.

use std::fs;

use remex::{
    error::Reason as Refusal,
    v1::{StdinChunk, WriteRequest, execution::State, exit::Reason},
};
use remex_client::{Command, Event, ExitReason};
use rustix::process::Signal;

use super::support::{detached, exit, from, output, started_id};
use crate::{
    harness::{Marker, command_line::result, soon},
    supervision::support::{RequestExt, Server, count, ending, shell},
};

const SWEEP: &[&str] = &["--containment", "sweep"];

async fn write(server: &Server, id: &str, offset: u64, data: &'static [u8]) -> u64 {
    let request = WriteRequest {
        execution_id: id.to_owned(),
        chunk: Some(StdinChunk {
            offset: Some(offset),
            data: data.into(),
            ..StdinChunk::default()
        }),
    };
    let written = soon("a write", server.exec().write(request)).await;
    written.unwrap().into_inner().stdin_accepted_bytes
}

/// It is found, read on from the exact place, fed, and its end is known.
async fn goes_on(flags: &[&str]) {
    for _ in 0..count(1, 20) {
        let server = Server::start(flags).await;
        let request = shell("echo begin; read a; echo $a; read b; echo $b; exit 5").stdin_open();
        let mut events = server.start_events(detached(request)).await;
        events.until("begin").await;
        let id = started_id(&events.all[0]);
        assert_eq!(write(&server, &id, 0, b"first\n").await, 6);
        events.until("first").await;
        let before = events.all.clone();

        let server = server.crash(flags).await;
        let record = server.get(&id).await;
        assert_eq!(record.state(), State::Running);
        assert_eq!(record.stdin_accepted_bytes, 6);
        let mut reader = server.attach(from(&id, before.len() as u64)).await;
        // Sent again by whoever did not hear of it: it is dropped.
        assert_eq!(write(&server, &id, 0, b"first\nsecond\n").await, 13);
        reader.until("second").await;
        let after = reader.end().await;
        assert_eq!(ending(exit(&after)), (5, 0, Reason::Self_));
        let all = server.attach(from(&id, 0)).await.end().await;
        assert_eq!(all, [before, after].concat());
        assert_eq!(output(&all), b"begin\nfirst\nsecond\n");

        // It has ended, and is known all the same after another crash.
        let server = server.crash(flags).await;
        assert_eq!(server.wait(&id).await.exit.as_ref(), Some(exit(&all)));
        assert_eq!(server.attach(from(&id, 0)).await.end().await, all);
        server.daemon.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_lost_when_remexd_is_killed() {
    goes_on(&[]).await;
}

#[tokio::test]
async fn nothing_is_lost_when_remexd_is_killed_by_sweep() {
    goes_on(SWEEP).await;
}

#[tokio::test]
async fn what_ends_while_no_remexd_is_there_is_known() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().clone();
    let go = home.path("go");
    let text = format!(
        "echo waits; while [ ! -e {} ]; do sleep 0.01; done; seq 1 50000; exit 9",
        go.display()
    );
    let mut events = server.start_events(detached(shell(text))).await;
    events.until("waits").await;
    let id = started_id(&events.all[0]);
    let Server { mut daemon, .. } = server;
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    drop(daemon);
    fs::write(&go, "").unwrap();
    let server = Server::start_in(&home, &[]).await;
    let ended = server.wait(&id).await;
    assert_eq!(ending(ended.exit.as_ref().unwrap()), (9, 0, Reason::Self_));
    let all = server.attach(from(&id, 0)).await.end().await;
    let lines: Vec<_> = (1..=50_000).map(|number| number.to_string()).collect();
    let expected = format!("waits\n{}\n", lines.join("\n"));
    assert!(output(&all) == expected.as_bytes(), "its output is another");
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_stop_leaves_what_is_detached_alone_and_its_readers_are_told() {
    let server = Server::start(&[]).await;
    let marker = Marker::new();
    let id = server
        .detach(shell(format!("echo here; exec sleep {marker}")))
        .await;
    let mut reader = server.attach(from(&id, 0)).await;
    reader.until("here").await;
    server.daemon.signal(Signal::TERM);
    let cut = loop {
        match reader.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends as if it were over"),
            Err(status) => break status,
        }
    };
    assert_eq!(Refusal::of(&cut), Some(Refusal::Draining));
    let home = server.daemon.home().clone();
    let Server { mut daemon, .. } = server;
    assert_eq!(daemon.wait().await.code(), Some(0));
    drop(daemon);
    assert!(!marker.processes().is_empty(), "it was ended");
    let server = Server::start_in(&home, &[]).await;
    server.signal_to(&id, 9).await;
    assert_eq!(
        ending(server.wait(&id).await.exit.as_ref().unwrap()),
        (-1, 9, Reason::Signal)
    );
    marker.is_gone().await;
    server.daemon.stop().await;
}

/// Its supervisor is killed: its tree goes, and nobody makes up an end.
async fn supervisor_lost(flags: &[&str], while_down: bool) {
    let server = Server::start(flags).await;
    let home = server.daemon.home().clone();
    let marker = Marker::new();
    let id = server
        .detach(shell(format!(
            "echo runs; setsid sleep {marker} & sleep {marker}"
        )))
        .await;
    let mut reader = server.attach(from(&id, 0)).await;
    reader.until("runs").await;
    let supervisor = home.supervisor_of(&id).expect("it has a supervisor");
    let kill = || rustix::process::kill_process(supervisor, Signal::KILL).unwrap();
    let server = if while_down {
        let Server { mut daemon, .. } = server;
        daemon.signal(Signal::KILL);
        daemon.wait().await;
        drop(daemon);
        kill();
        Server::start_in(&home, flags).await
    } else {
        kill();
        let all = reader.end().await;
        assert_eq!(ending(exit(&all)), (-1, 0, Reason::LostExit));
        server
    };
    let ended = server.wait(&id).await;
    assert_eq!(
        ending(ended.exit.as_ref().unwrap()),
        (-1, 0, Reason::LostExit)
    );
    marker.is_gone().await;
    let all = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(output(&all), b"runs\n");
    assert_eq!(ending(exit(&all)), (-1, 0, Reason::LostExit));
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_lost_supervisor_is_an_unknown_end() {
    supervisor_lost(&[], false).await;
    supervisor_lost(&[], true).await;
}

#[tokio::test]
async fn a_lost_supervisor_is_an_unknown_end_by_sweep() {
    supervisor_lost(SWEEP, false).await;
    supervisor_lost(SWEEP, true).await;
}

/// Whether it has run nobody knows, and nobody runs it again: so say the library, by each call, and the command line.
#[tokio::test]
async fn a_supervisor_that_is_lost_in_a_start_is_an_unknown_start() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home();
    home.spares_are_there().await;
    for folder in fs::read_dir(home.path("state/durable")).unwrap() {
        fs::write(folder.unwrap().path().join("crash-at"), "reserved").unwrap();
    }
    let ran = home.path("ran");
    let text = format!("echo ran >>{}", ran.display());
    // Each takes one of the spares, and the second time none.
    for _ in 0..2 {
        let command = |id: &str| Command::shell(&text).request_id(id).resume();
        let client = &server.client;
        let mut started = soon("a start", client.start(command("start")))
            .await
            .unwrap();
        assert_eq!(
            started.id(),
            server.client.find("start").await.unwrap().execution_id
        );
        is_unknown(started.next().await.unwrap());
        assert_eq!(started.next().await.unwrap(), None);

        let mut talk = soon("a start", client.interact(command("talk")))
            .await
            .unwrap();
        assert_eq!(
            talk.id(),
            server.client.find("talk").await.unwrap().execution_id
        );
        is_unknown(talk.next().await.unwrap());
        assert_eq!(talk.next().await.unwrap(), None);

        let outcome = soon("an outcome", client.run(command("run")))
            .await
            .unwrap();
        assert_eq!(outcome.exit.reason, ExitReason::LostStart);

        let typed = [
            "run",
            "-n",
            "--resume",
            "--request-id",
            "typed",
            "--shell",
            &text,
        ];
        let (code, stdout, stderr) = result(server.remex(&typed)).await;
        assert_eq!((code, &*stdout), (255, ""), "{stderr}");
        assert!(stderr.contains("may or may not have run"), "{stderr}");
    }
    assert!(!ran.exists(), "it has run");
    server.daemon.stop().await;
}

#[track_caller]
fn is_unknown(event: Option<Event>) {
    match event {
        Some(Event::Exited(exit)) => assert_eq!(exit.reason, ExitReason::LostStart),
        other => panic!("{other:?}"),
    }
}

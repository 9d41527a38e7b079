//! What is detached runs on without its caller, and is waited for by anybody who may see it.

use remex::{
    error::Reason as Refusal,
    v1::{OnDisconnect, RunRequest, execution::State, exit::Reason},
};

use super::support::{detached, exit, from, output};
use crate::{
    harness::soon,
    supervision::support::{RequestExt, Server, argv, ending, shell},
};

async fn it_runs_on(server: Server) {
    let request = shell("echo one; read line; echo got $line; exit 7").stdin_open();
    let mut events = server.start_events(detached(request)).await;
    events.until("one").await;
    let id = super::support::started_id(&events.all[0]);
    let record = server.get(&id).await;
    assert_eq!((record.state(), record.attached), (State::Running, 1));
    assert_eq!(record.on_disconnect(), OnDisconnect::Detach);
    assert_eq!(record.stdout_bytes_total, 4);
    // Its caller goes.
    drop(events);
    let mut exec = server.exec();
    soon("nobody attached", async {
        while server.get(&id).await.attached > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let chunk = remex::v1::StdinChunk {
        data: b"it\n".as_slice().into(),
        ..remex::v1::StdinChunk::default()
    };
    let write = remex::v1::WriteRequest {
        execution_id: id.clone(),
        chunk: Some(chunk),
    };
    let written = soon("a write", exec.write(write)).await.unwrap();
    assert_eq!(written.into_inner().stdin_accepted_bytes, 3);
    let ended = server.wait(&id).await;
    assert_eq!(ended.state(), State::Ended);
    assert_eq!(ending(ended.exit.as_ref().unwrap()), (7, 0, Reason::Self_));
    assert_eq!(ended.stdout_bytes_total, 11);
    assert!(ended.stored_bytes > 0 && ended.storage_error.is_empty());
    let all = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(output(&all), b"one\ngot it\n");
    assert_eq!(ending(exit(&all)), (7, 0, Reason::Self_));
    assert_eq!(all.last().unwrap().sequence, ended.last_sequence);
    server.delete(&id).await.unwrap();
    let gone = server.try_attach(from(&id, 0)).await.map(drop).unwrap_err();
    assert_eq!(Refusal::of(&gone), Some(Refusal::ExecutionNotFound));
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_detached_command_runs_on_and_is_waited_for() {
    it_runs_on(Server::start(&[]).await).await;
}

#[tokio::test]
async fn a_detached_command_runs_on_and_is_waited_for_by_sweep() {
    it_runs_on(Server::start(&["--containment", "sweep"]).await).await;
}

#[tokio::test]
async fn what_cannot_be_started_leaves_nothing() {
    let server = Server::start(&[]).await;
    for _ in 0..3 {
        let refused = server.refusal(detached(argv(["/no/such/program"]))).await;
        assert_eq!(Refusal::of(&refused), Some(Refusal::ProgramNotFound));
    }
    let listed = soon(
        "a list",
        server.exec().list(remex::v1::ListRequest::default()),
    )
    .await;
    assert_eq!(listed.unwrap().into_inner().executions, []);
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_signal_and_a_window_size_reach_a_durable_command() {
    let server = Server::start(&[]).await;
    let request = shell("trap 'stty size; exit 3' USR1; echo ready; while :; do sleep 0.01; done");
    let id = server.detach(request.on_terminal()).await;
    let mut reader = server.attach(from(&id, 0)).await;
    reader.until("ready").await;
    let resize = remex::v1::ResizeRequest {
        execution_id: id.clone(),
        rows: 33,
        columns: 44,
    };
    soon("a resize", server.exec().resize(resize))
        .await
        .unwrap();
    server.signal_to(&id, 10).await;
    let all = reader.end().await;
    assert!(
        String::from_utf8_lossy(&output(&all)).contains("33 44"),
        "{all:?}"
    );
    assert_eq!(exit(&all).code, Some(3));
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_durable_run_needs_an_id() {
    let server = Server::start(&[]).await;
    let request = RunRequest {
        command: argv(["true"]).command,
        on_disconnect: OnDisconnect::Detach.into(),
        ..RunRequest::default()
    };
    let refused = soon("an answer", server.exec().run(request))
        .await
        .unwrap_err();
    assert_eq!(Refusal::of(&refused), Some(Refusal::InvalidField));
    assert!(refused.message().contains("request_id"), "{refused}");
    server.daemon.stop().await;
}

//! Executions by their ids: Get, List, Wait, Delete, Attach, and how many there may be.

use std::time::Duration;

use remex::{
    error::Reason as Refusal,
    v1::{
        AttachRequest, DeleteRequest, Execution, GetRequest, ListRequest, RunRequest, StartRequest,
        WaitRequest, execution::State, exit::Reason,
    },
};
use tonic::Status;
use tonic_types::StatusExt;

use super::support::{RequestExt, Server, argv, duration, ending, shell};
use crate::harness::soon;

async fn get(server: &Server, id: &str) -> Result<Execution, Status> {
    let request = GetRequest {
        execution_id: id.to_owned(),
        ..GetRequest::default()
    };
    let got = soon("a record", server.exec().get(request)).await;
    got.map(|response| response.into_inner().execution.unwrap())
}

async fn list(server: &Server, request: ListRequest) -> (Vec<String>, String) {
    let listed = soon("a list", server.exec().list(request)).await.unwrap();
    let listed = listed.into_inner();
    let ids = listed.executions.into_iter().map(|one| one.execution_id);
    (ids.collect(), listed.next_page_token)
}

async fn wait(server: &Server, id: &str, millis: u64) -> Execution {
    let request = WaitRequest {
        execution_id: id.to_owned(),
        timeout: Some(duration(millis)),
    };
    let waited = soon("a wait", server.exec().wait(request)).await.unwrap();
    waited.into_inner().execution.unwrap()
}

fn labelled(value: &str) -> StartRequest {
    let mut request = shell("echo out; echo err >&2; exec cat").stdin("abc");
    request.stdin_open = true;
    request.labels.insert("it".into(), value.into());
    request.with(|command| {
        command.environment.insert("SECRET".into(), "hidden".into());
    })
}

#[tokio::test]
async fn a_record_follows_its_execution() {
    let server = Server::start(&[]).await;
    let mut running = server.begin(labelled("a")).await;
    running.until("abc").await;
    let record = get(&server, &running.id).await.unwrap();
    assert_eq!(record.state(), State::Running);
    assert_eq!((record.pid, record.attached), (running.pid, 1));
    assert_eq!((record.stdin_accepted_bytes, &record.exit), (3, &None));
    let command = record.command.unwrap();
    assert_eq!(command.environment["SECRET"], "");
    assert_eq!(record.labels["it"], "a");
    assert!(record.create_time.is_some() && record.end_time.is_none());
    // Waiting for a while leaves it as it is.
    assert_eq!(wait(&server, &running.id, 50).await.state(), State::Running);

    let id = running.id.clone();
    let (waited, record) = tokio::join!(wait(&server, &id, 0), async {
        running.signal(15).await.unwrap();
        running.end().await
    });
    assert_eq!(waited.state(), State::Ended);
    assert_eq!(waited.exit.as_ref(), Some(record.exit()));
    assert_eq!(ending(record.exit()), (-1, 15, Reason::Signal));
    assert_eq!(
        (waited.stdout_bytes_total, waited.stderr_bytes_total),
        (7, 4)
    );
    assert!(waited.end_time.is_some() && waited.expire_time.is_some());
    let ended = get(&server, &id).await.unwrap();
    assert_eq!((ended.state(), ended.attached), (State::Ended, 0));
    server.daemon.stop().await;
}

#[tokio::test]
async fn lists_are_newest_first_and_filtered() {
    let server = Server::start(&[]).await;
    let (a, b) = (
        server.begin(labelled("a")).await,
        server.begin(labelled("b")).await,
    );
    let ended = server.begin(argv(["true"])).await;
    let gone = ended.id.clone();
    ended.end().await;
    let all = [&gone, &b.id, &a.id].map(String::clone);
    assert_eq!(list(&server, ListRequest::default()).await.0, all);
    let only = |change: fn(&mut ListRequest)| {
        let mut request = ListRequest::default();
        change(&mut request);
        request
    };
    let states = only(|request| request.states = vec![State::Running.into()]);
    assert_eq!(list(&server, states).await.0, all[1..]);
    let labels = only(|request| {
        request.labels.insert("it".into(), "b".into());
    });
    assert_eq!(list(&server, labels).await.0, all[1..2]);
    // A page at a time.
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let request = ListRequest {
            page_size: 2,
            page_token: token,
            ..ListRequest::default()
        };
        let (ids, next) = list(&server, request).await;
        pages.push(ids);
        if next.is_empty() {
            break;
        }
        token = next;
    }
    assert_eq!(pages, [&all[..2], &all[2..]]);
    for running in [a, b] {
        running.signal(9).await.unwrap();
        running.end().await;
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_record_goes_when_it_is_deleted() {
    let server = Server::start(&[]).await;
    let running = server.begin(argv(["sleep", "1000"])).await;
    let id = running.id.clone();
    let delete = async || {
        let request = DeleteRequest {
            execution_id: id.clone(),
        };
        soon("a delete", server.exec().delete(request)).await
    };
    let refused = delete().await.unwrap_err();
    assert_eq!(Refusal::of(&refused), Some(Refusal::ExecutionRunning));
    let attach = AttachRequest {
        execution_id: id.clone(),
        ..AttachRequest::default()
    };
    let refused = soon("an attach", server.exec().attach(attach)).await;
    let refused = refused.map(drop).unwrap_err();
    assert_eq!(Refusal::of(&refused), Some(Refusal::NotDurable));
    running.signal(9).await.unwrap();
    running.end().await;
    delete().await.unwrap();
    for missing in [delete().await.map(drop), get(&server, &id).await.map(drop)] {
        let missing = missing.unwrap_err();
        assert_eq!(Refusal::of(&missing), Some(Refusal::ExecutionNotFound));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn the_command_line_lists_waits_and_kills() {
    let server = Server::start(&[]).await;
    let running = server.begin(argv(["sleep", "1000"])).await;
    let id = running.id.as_str();
    let ps = soon("remex ps", server.remex(&["ps"]).output())
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&ps.stdout).contains(id), "{ps:?}");
    let waiter = server.remex(&["wait", id]).spawn().unwrap();
    let kill = soon(
        "remex kill",
        server.remex(&["kill", "-s", "KILL", id]).status(),
    )
    .await;
    assert!(kill.unwrap().success());
    let waited = soon("remex wait", waiter.wait_with_output()).await.unwrap();
    assert_eq!(waited.status.code(), Some(137), "{waited:?}");
    let kill = soon("remex kill", server.remex(&["kill", id]).output()).await;
    assert_eq!(kill.unwrap().status.code(), Some(255));
    assert_eq!(running.end().await.ending(), (-1, 9, Reason::Signal));
    server.daemon.stop().await;
}

#[tokio::test]
async fn one_execution_too_many_is_refused_at_once() {
    let server = Server::start(&["--max-executions", "2"]).await;
    let mut running = Vec::new();
    for _ in 0..2 {
        running.push(server.begin(argv(["sleep", "1000"])).await);
    }
    let refused = server.refusal(argv(["true"])).await;
    assert_eq!(Refusal::of(&refused), Some(Refusal::TooManyExecutions));
    let details = refused.get_error_details();
    let delay = details.retry_info().unwrap().retry_delay.unwrap();
    assert!(delay > Duration::ZERO);
    // A start that fails takes no room, nor does one that was refused.
    let last = running.pop().unwrap();
    last.signal(9).await.unwrap();
    last.end().await;
    // Whoever was told of an end may start another at once.
    for _ in 0..100 {
        server.run(argv(["true"])).await;
        let request = RunRequest {
            command: argv(["true"]).command,
            ..RunRequest::default()
        };
        soon("a run", server.exec().run(request)).await.unwrap();
    }
    for _ in 0..3 {
        server.refusal(argv(["/no/such/program"])).await;
    }
    running[0].signal(9).await.unwrap();
    server.daemon.stop().await;
}

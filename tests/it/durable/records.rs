//! Durable executions in lists; what is on disk of them; and when they go.

use std::{fs, os::unix::fs::MetadataExt};

use remex::v1::{ListRequest, OnDisconnect, execution::State};
use remex_supervisor::durable::SOCKET_FILE;

use super::support::{detached, from};
use crate::{
    harness::{eventually, soon},
    supervision::support::{RequestExt, Server, argv, shell},
};

async fn list(server: &Server, request: ListRequest) -> Vec<remex::v1::Execution> {
    let mut all = Vec::new();
    let mut request = request;
    loop {
        let listed = soon("a list", server.exec().list(request.clone())).await;
        let listed = listed.unwrap().into_inner();
        all.extend(listed.executions);
        if listed.next_page_token.is_empty() {
            return all;
        }
        request.page_token = listed.next_page_token;
    }
}

#[tokio::test]
async fn lists_hold_both_kinds_newest_first_and_survive_a_crash() {
    let server = Server::start(&[]).await;
    let mut durable = Vec::new();
    for number in 0..6 {
        let mut request = shell(format!("exit {number}")).with(|command| {
            command.environment.insert("SECRET".into(), "hidden".into());
            command.working_directory = "/".into();
        });
        request.labels.insert("n".into(), (number % 2).to_string());
        let id = server.detach(request).await;
        server.wait(&id).await;
        durable.push(id);
        server.run(argv(["true"])).await;
    }
    let ids = |all: &[remex::v1::Execution]| -> Vec<String> {
        all.iter().map(|one| one.execution_id.clone()).collect()
    };
    let page = ListRequest {
        page_size: 5,
        ..ListRequest::default()
    };
    let all = list(&server, page.clone()).await;
    assert_eq!(all.len(), 12);
    assert!(all.is_sorted_by(|one, other| {
        let time = |one: &remex::v1::Execution| {
            let time = one.create_time.unwrap();
            (time.seconds, time.nanos)
        };
        time(one) >= time(other)
    }));
    let newest_first: Vec<_> = durable.iter().rev().cloned().collect();
    let of_durable: Vec<_> = ids(&all)
        .into_iter()
        .filter(|id| durable.contains(id))
        .collect();
    assert_eq!(of_durable, newest_first);

    let before = server.get(&durable[3]).await;
    let server = server.crash(&[]).await;
    let all = list(&server, page).await;
    assert_eq!(ids(&all), newest_first);
    let after = server.get(&durable[3]).await;
    assert_eq!(after, before);
    assert_eq!(after.command.as_ref().unwrap().environment["SECRET"], "");
    assert_eq!(after.command.as_ref().unwrap().working_directory, "/");
    assert_eq!(after.on_disconnect(), OnDisconnect::Detach);
    let labelled = ListRequest {
        labels: [("n".to_owned(), "1".to_owned())].into(),
        states: vec![State::Ended.into()],
        ..ListRequest::default()
    };
    assert_eq!(list(&server, labelled).await.len(), 3);
    let running = ListRequest {
        states: vec![State::Running.into()],
        ..ListRequest::default()
    };
    assert_eq!(list(&server, running).await, []);
    server.daemon.stop().await;
}

#[tokio::test]
async fn what_is_deleted_leaves_nothing_on_disk() {
    let server = Server::start(&[]).await;
    let request = detached(shell("echo out").stdin("TOP-SECRET-STDIN").with(|command| {
        let value = "TOP-SECRET-VALUE".to_owned();
        command.environment.insert("NAME".into(), value);
    }));
    let id = server.detach(request).await;
    server.wait(&id).await;
    let folder = server.daemon.home().path("state/durable").join(&id);
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    // Its supervisor goes once the end is told.
    eventually("its end", || {
        (!folder.join(SOCKET_FILE).exists()).then_some(())
    })
    .await;
    let mut bytes = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{entry:?}");
        bytes.extend(fs::read(entry.path()).unwrap());
    }
    let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    assert!(has(b"out\n") && has(b"NAME"));
    assert!(!has(b"TOP-SECRET"), "a secret is on disk");
    server.delete(&id).await.unwrap();
    assert!(!folder.exists());
    let gone = server.try_attach(from(&id, 0)).await.map(drop).unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
    let server = server.crash(&[]).await;
    assert_eq!(list(&server, ListRequest::default()).await, []);
    server.daemon.stop().await;
}

/// Supervisors that wait and are not used leave nothing, whichever way their server goes.
#[tokio::test]
async fn spares_leave_nothing() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().clone();
    let id = server.detach(argv(["true"])).await;
    server.wait(&id).await;
    let folder = home.path("state/durable");
    let names = move || -> Vec<String> {
        let entries = fs::read_dir(&folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    };
    let server = server.crash(&[]).await;
    // Those of the one before have gone by the time that a list is whole.
    assert_eq!(list(&server, ListRequest::default()).await.len(), 1);
    server.daemon.stop().await;
    assert_eq!(names(), [id]);
}

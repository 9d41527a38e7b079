//! What cannot be deleted: whoever asked is told, and nothing is lost of it until it can be.

use std::fs;

use remex::{error::Reason as Refusal, v1::StartRequest};
use tonic::Code;

use super::support::{detached, from, started_id};
use crate::{
    harness::soon,
    supervision::support::{Server, shell},
};

#[tokio::test]
async fn what_cannot_be_deleted_is_an_error_and_stays_until_it_can_be() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().clone();
    let ran = home.path("ran");
    let request = || StartRequest {
        request_id: "nightly".to_owned(),
        ..detached(shell(format!("echo ran >> {}; exit 3", ran.display())))
    };
    let all = server.start_events(request()).await.end().await;
    let id = started_id(&all[0]);
    let before = server.wait(&id).await;
    let folder = home.path("state/durable").join(&id);
    // A folder is none of remexd's files.
    let obstacle = folder.join("in-the-way");
    fs::create_dir(&obstacle).expect("a folder");

    let is_there = async |server: &Server| {
        assert_eq!(server.get(&id).await, before);
        assert_eq!(server.attach(from(&id, 0)).await.end().await, all);
        // Its request id is what it was.
        assert_eq!(server.start_events(request()).await.end().await, all);
        assert_eq!(fs::read_to_string(&ran).expect("it ran"), "ran\n");
    };
    for _ in 0..2 {
        let failed = server.delete(&id).await.expect_err("it is in the way");
        assert_eq!(failed.code(), Code::Internal, "{failed}");
        assert!(failed.message().contains("cannot be deleted"), "{failed}");
        is_there(&server).await;
    }
    let server = server.crash(&[]).await;
    is_there(&server).await;

    fs::remove_dir(&obstacle).expect("it is empty");
    server.delete(&id).await.expect("nothing is in the way");
    assert!(!folder.exists());
    let gone = server.delete(&id).await.expect_err("it is gone");
    assert_eq!(Refusal::of(&gone), Some(Refusal::ExecutionNotFound));
    let retired = soon("an answer", server.exec().start(request())).await;
    let retired = retired.map(drop).expect_err("its id stays taken");
    assert_eq!(Refusal::of(&retired), Some(Refusal::RequestIdRetired));
    let names: Vec<_> = fs::read_dir(home.path("state/durable"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| name.to_string_lossy().starts_with('.'))
        .collect();
    assert!(names.is_empty(), "{names:?}");
    server.daemon.stop().await;
}

/// Each is told what became of it, and it is gone when the first is told so.
#[tokio::test]
async fn many_delete_one() {
    let server = Server::start(&[]).await;
    let id = server.detach(shell("echo out")).await;
    assert_eq!(server.wait(&id).await.exit.expect("its end").code, Some(0));
    let deletes = (0..8).map(|_| server.delete(&id));
    let told = futures_util::future::join_all(deletes).await;
    assert!(told.iter().any(Result::is_ok), "{told:?}");
    for status in told.into_iter().filter_map(Result::err) {
        assert_eq!(Refusal::of(&status), Some(Refusal::ExecutionNotFound));
    }
    let folder = server.daemon.home().path("state/durable").join(&id);
    assert!(!folder.exists());
    server.daemon.stop().await;
}

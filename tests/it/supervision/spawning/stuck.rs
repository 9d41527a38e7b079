//! Children that never come to their program: as many as may be, and one whose cgroup is frozen before its first step.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use remex::error::Reason as Refusal;

use super::{
    super::support::{Server, argv},
    SERVED, all_children_are_gone, ask,
    dead::{Answers, Dead, apart},
    is_served,
};
use crate::harness::{Home, tools::root};

/// Children that may be stuck.
const MAX_STUCK: usize = 64;

#[tokio::test]
async fn as_many_children_are_stuck_as_may_be() {
    let home = Home::new();
    let server = skip_unless!(apart(&home, &[]).await);
    let dead = skip_unless!(Dead::mount(&server, Answers::Greeting));
    let [.., program, _] = dead.requests();
    let threads = server.daemon.status("Threads");
    let asked = (0..MAX_STUCK).map(|_| ask(&server, program.clone()));
    for asked in join_all(asked).await {
        let (refusal, _) = asked.unwrap();
        assert_eq!(refusal, Some(Refusal::SpawnFailed));
    }
    // Another one is not even tried; what the kernel knows runs all the same, and nothing has grown but the children.
    let (refusal, took) = ask(&server, program.clone()).await.unwrap();
    assert_eq!(refusal, Some(Refusal::SpawnFailed));
    assert!(took < SERVED, "{took:?}");
    is_served(&server).await;
    assert!(server.daemon.status("Threads") <= threads + 4);
    drop(dead);
    all_children_are_gone(server.daemon.pid()).await;
    let (refusal, _) = ask(&server, program).await.unwrap();
    assert_ne!(refusal, Some(Refusal::SpawnFailed), "it is tried again");
    server.daemon.stop().await;
}

/// The cgroup that all of a server's commands are below.
fn base(server: &Server) -> Option<PathBuf> {
    let path = fs::read_to_string(server.daemon.home().path("state/containment")).ok()?;
    let base = PathBuf::from(path);
    base.join("cgroup.freeze").exists().then_some(base)
}

#[tokio::test]
async fn a_group_that_is_frozen_before_the_first_step_holds_nobody_else() {
    skip_unless!(root());
    let server = Server::start(&[]).await;
    is_served(&server).await;
    let Some(base) = base(&server) else {
        eprintln!("skipped: trees are kept together without cgroups");
        return server.daemon.stop().await;
    };
    let freeze = |text| fs::write(base.join("cgroup.freeze"), text).expect("the right to freeze");
    freeze("1");
    let asked = ask(&server, argv(["true"]));
    while !asked.is_finished() {
        // Whoever needs no new process is answered.
        let begin = Instant::now();
        let list = remex::v1::ListRequest::default();
        server.exec().list(list).await.unwrap();
        assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
        tokio::task::yield_now().await;
    }
    let (refusal, took) = asked.await.unwrap();
    assert_eq!(refusal, Some(Refusal::SpawnFailed));
    assert!(took < Duration::from_secs(20), "{took:?}");
    freeze("0");
    is_served(&server).await;
    all_children_are_gone(server.daemon.pid()).await;
    server.daemon.stop().await;
}

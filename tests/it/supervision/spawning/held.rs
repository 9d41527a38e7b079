//! Spawns that the kernel holds, as a folder on a server that is gone does it, hold nobody else.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use remex::error::Reason as Refusal;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use super::{
    super::support::{RequestExt, Server, argv, children_of},
    STRANGER, all_children_are_gone, ask, children_as,
    dead::{Answers, Dead, apart},
    is_served,
};
use crate::harness::{Home, eventually};

async fn others_are_served(flags: &[&str], answers: Answers, times: usize) {
    let home = Home::new();
    let server = skip_unless!(apart(&home, flags).await);
    let dead = skip_unless!(Dead::mount(&server, answers));
    is_served(&server).await;
    let threads = server.daemon.status("Threads");
    let asked: Vec<_> = (0..times)
        .flat_map(|_| dead.requests())
        .map(|request| ask(&server, request))
        .collect();
    let stranger = argv(["true"]).with(|command| {
        command.user = STRANGER.to_string();
        command.working_directory = dead.path().into();
    });
    let stranger = ask(&server, stranger);
    while !asked.iter().all(JoinHandle::is_finished) {
        is_served(&server).await;
        tokio::task::yield_now().await;
    }
    for asked in asked.into_iter().chain([stranger]) {
        let (refusal, took) = asked.await.unwrap();
        assert_eq!(refusal, Some(Refusal::SpawnFailed));
        assert!(took >= Duration::from_secs(9), "{took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
    // Its own, with a thread or two for the user database.
    assert!(server.daemon.status("Threads") <= threads + 4);
    is_served(&server).await;
    drop(dead);
    all_children_are_gone(server.daemon.pid()).await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_40_a_dead_file_system_holds_nobody_else() {
    others_are_served(&[], Answers::Nothing, 10).await;
}

#[tokio::test]
async fn pitfall_40_a_dead_file_system_holds_nobody_else_by_sweep() {
    others_are_served(&["--containment", "sweep"], Answers::Nothing, 10).await;
}

#[tokio::test]
async fn pitfall_40_what_cannot_be_killed_holds_nobody_else() {
    others_are_served(&[], Answers::Greeting, 3).await;
}

#[tokio::test]
async fn a_drain_ends_a_spawn_that_is_under_way() {
    for user in ["", "4100000123"] {
        let home = Home::new();
        let server = skip_unless!(apart(&home, &["--drain-timeout", "1s"]).await);
        let dead = skip_unless!(Dead::mount(&server, Answers::Nothing));
        let held = argv(["touch", "ran"]).with(|command| {
            command.user = user.into();
            command.working_directory = dead.path().into();
        });
        let asked = ask(&server, held);
        let remexd = server.daemon.pid();
        let uid = user.parse().unwrap_or(0);
        // For root, the zygote is there from the start.
        let before = usize::from(user.is_empty());
        eventually("a child", || {
            (children_as(remexd, uid).len() > before).then_some(())
        })
        .await;
        let children = children_as(remexd, uid);
        let begin = Instant::now();
        server.daemon.stop().await;
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{:?}",
            begin.elapsed()
        );
        let (refusal, _) = asked.await.unwrap();
        assert!(
            refusal.is_none_or(|reason| reason == Refusal::Draining),
            "{refusal:?}"
        );
        drop(dead);
        eventually("the end of all", || {
            let lives = |pid: &i32| Path::new(&format!("/proc/{pid}")).exists();
            (!children.iter().any(lives)).then_some(())
        })
        .await;
    }
}

async fn the_next_start_serves(flags: &[&str]) {
    let home = Home::new();
    let server = skip_unless!(apart(&home, flags).await);
    let dead = skip_unless!(Dead::mount(&server, Answers::Nothing));
    let asked = ask(&server, dead.requests()[0].clone());
    let Server { mut daemon, client } = server;
    let pid = daemon.pid().as_raw_nonzero().get();
    eventually("a child", || (!children_of(pid).is_empty()).then_some(())).await;
    let port = daemon.socket("grpc").to_string();
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    asked.abort();
    drop(client);
    let begin = Instant::now();
    let next = Server::start_in(&home, &[flags, &["--listen", &port]].concat()).await;
    is_served(&next).await;
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    next.daemon.stop().await;
    drop(dead);
}

#[tokio::test]
async fn pitfall_40_after_a_crash_the_next_start_serves() {
    the_next_start_serves(&[]).await;
}

#[tokio::test]
async fn pitfall_40_after_a_crash_the_next_start_serves_by_sweep() {
    the_next_start_serves(&["--containment", "sweep"]).await;
}

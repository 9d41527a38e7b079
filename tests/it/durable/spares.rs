//! Supervisors that wait for an order and are lost before they have carried it out: others take their place, nobody is refused
//! for it, and nothing runs twice.

use std::{fs, path::PathBuf};

use remex::v1::{StartRequest, exit::Reason};
use rustix::process::{Signal, kill_process};

use super::support::{detached, exit, started_id};
use crate::{
    harness::{Home, Marker, eventually, soon},
    supervision::support::{Server, ending, shell},
};

/// The ids of those that wait.
fn spares(home: &Home) -> Vec<String> {
    let folders = fs::read_dir(home.path("state/durable")).expect("a folder");
    let names = folders.map(|folder| folder.expect("an entry").file_name());
    names
        .map(|name| name.into_string().expect("UTF-8"))
        .collect()
}

fn folder(home: &Home, id: &str) -> PathBuf {
    home.path("state/durable").join(id)
}

fn once(home: &Home, request_id: &str) -> StartRequest {
    let ran = home.path("ran");
    StartRequest {
        request_id: request_id.to_owned(),
        ..detached(shell(format!("echo ran >> {}; exit 3", ran.display())))
    }
}

/// It runs, once, and of `lost` nothing is left.
async fn another_runs_it(server: Server, lost: &[String]) {
    let home = server.daemon.home().clone();
    let all = server.start_events(once(&home, "once")).await.end().await;
    assert_eq!(exit(&all).code, Some(3));
    let again = server.start_events(once(&home, "once")).await.end().await;
    assert_eq!(again, all);
    let ran = fs::read_to_string(home.path("ran")).expect("it ran");
    assert_eq!(ran, "ran\n");
    let id = started_id(&all[0]);
    assert!(!lost.contains(&id), "it runs under one that is lost");
    // In turn, so that all of them are gone that are passed over.
    for index in 0..lost.len() {
        let id = server.detach(once(&home, &format!("next-{index}"))).await;
        assert_eq!(server.wait(&id).await.exit.expect("its end").code, Some(3));
    }
    eventually("nothing of those that are lost", || {
        let mut lost = lost.iter();
        lost.all(|id| !folder(&home, id).exists()).then_some(())
    })
    .await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn those_that_died_while_they_waited_are_passed_over() {
    for are_awaited in [true, false] {
        for count in [1, 4] {
            let server = Server::start(&[]).await;
            let home = server.daemon.home();
            home.spares_are_there().await;
            let mut dead = spares(home);
            dead.sort();
            dead.truncate(count);
            for id in &dead {
                let pid = home.supervisor_of(id).expect("it waits");
                kill_process(pid, Signal::KILL).expect("it lives");
            }
            if are_awaited {
                let have_died = || dead.iter().all(|id| home.supervisor_of(id).is_none());
                eventually("their end", || have_died().then_some(())).await;
            }
            another_runs_it(server, &dead).await;
        }
    }
}

/// However late it comes: with the order, and before the journal says that it may have run.
#[tokio::test]
async fn those_that_die_of_their_order_are_passed_over() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home();
    home.spares_are_there().await;
    let dying = spares(home);
    for id in &dying {
        fs::write(folder(home, id).join("crash-at"), "ordered").expect("a file");
    }
    another_runs_it(server, &dying).await;
}

/// What became of it is not known when remexd goes, so its request id stays taken.
#[tokio::test]
async fn what_is_lost_in_a_start_while_remexd_goes_is_not_run_again() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().clone();
    let marker = Marker::new();
    let text = format!("echo runs; exec sleep {marker}");
    let mut reader = server.start_events(detached(shell(text))).await;
    reader.until("runs").await;
    let running = started_id(&reader.all[0]);
    home.spares_are_there().await;
    let mut stopped = Vec::new();
    for id in spares(&home).iter().filter(|id| **id != running) {
        fs::write(folder(&home, id).join("crash-at"), "executed").expect("a file");
        // The last may be in the making; the others are taken before it.
        if let Some(pid) = home.supervisor_of(id) {
            kill_process(pid, Signal::STOP).expect("it lives");
            stopped.push(pid);
        }
    }
    let (mut exec, request) = (server.exec(), once(&home, "once"));
    let starting = tokio::spawn(async move { exec.start(request).await.map(drop) });
    eventually("its request id is taken", || {
        let mut ids = fs::read_dir(home.path("state/request-ids")).ok()?;
        ids.next().map(drop)
    })
    .await;
    server.daemon.signal(Signal::TERM);
    while let Ok(event) = reader.try_next().await {
        assert!(event.is_some(), "it ends as if it were over");
    }
    for pid in stopped {
        kill_process(pid, Signal::CONT).expect("it lives");
    }
    let Server { mut daemon, .. } = server;
    assert_eq!(daemon.wait().await.code(), Some(0));
    let told = soon("an answer", starting).await.expect("no panic");
    assert!(told.is_err(), "it is told to have started");
    drop(daemon);
    eventually("it ran", || fs::read(home.path("ran")).ok()).await;

    let server = Server::start_in(&home, &[]).await;
    let all = server.start_events(once(&home, "once")).await.end().await;
    assert_eq!(ending(exit(&all)), (-1, 0, Reason::LostStart));
    let ran = fs::read_to_string(home.path("ran")).expect("it ran");
    assert_eq!(ran, "ran\n");
    server.signal_to(&running, 9).await;
    server.wait(&running).await;
    marker.is_gone().await;
    server.daemon.stop().await;
}

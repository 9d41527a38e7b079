//! What becomes of an execution when its callers go.

use std::time::{Duration, Instant};

use remex_supervisor::{
    durable::message::{Attached, LinkRequest, Stage},
    lifecycle::{
        outcome::{Cause, ExitReason},
        presence::OnDisconnect,
    },
};

use crate::{
    commands::{Running, shell},
    scenarios::{
        marker::Marker,
        told::{Told, code, signal},
    },
    server::{PATIENCE, Server},
};

const DISCONNECTED: ExitReason = ExitReason::Ended(Cause::Disconnect);

/// By far less than a busy machine takes for anything.
const SHORT: Duration = Duration::from_millis(300);

fn start(on_disconnect: OnDisconnect, marker: &Marker) -> Running {
    let mut command = shell(format!("sleep {marker} & echo ready; exec sleep {marker}"));
    command.on_disconnect = on_disconnect;
    let mut running = command.start();
    running.until_ready();
    running
}

/// The server dies; returns another's hold on it, which finds that it has ended.
fn end_without_server(mut running: Running) -> Told {
    let remains = running.server.remains.take();
    let folder = running.server.folder.clone();
    drop(running);
    let begin = Instant::now();
    let is_free = || {
        use std::os::fd::AsFd;
        let lock = remex_supervisor::durable::FolderLock::take(folder.as_fd());
        lock.unwrap().is_some()
    };
    while !is_free() {
        assert!(begin.elapsed() < PATIENCE, "it never ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let reader = remex_supervisor::journal::Reader::open(folder, 0, u64::MAX).unwrap();
    let told = Told::of(&crate::server::read_all(reader));
    drop(remains);
    told
}

#[test]
fn with_kill_it_ends_when_the_last_caller_goes() {
    let marker = Marker::new();
    let running = start(OnDisconnect::Kill, &marker);
    running.attach(2, 0);
    running.attach(1, 0);
    running.attach(0, 0);
    assert_eq!(running.end().ending(), (signal(15), DISCONNECTED));
    marker.assert_gone();
}

#[test]
fn with_kill_a_servers_death_is_its_callers_going() {
    let marker = Marker::new();
    let told = end_without_server(start(OnDisconnect::Kill, &marker));
    assert_eq!(told.ending(), (signal(15), DISCONNECTED));
    marker.assert_gone();
}

#[test]
fn grace_runs_while_the_server_is_away() {
    let marker = Marker::new();
    let running = start(OnDisconnect::Grace(SHORT), &marker);
    let told = end_without_server(running);
    assert_eq!(told.ending(), (signal(15), DISCONNECTED));
    assert!(told.exit.unwrap().wall_time >= SHORT);
    marker.assert_gone();
}

#[test]
fn observers_are_no_callers() {
    let marker = Marker::new();
    let running = start(OnDisconnect::Grace(SHORT), &marker);
    running.server.send(&LinkRequest::Attached(Attached {
        callers: 0,
        observers: 3,
        sent: 0,
    }));
    assert_eq!(running.end().ending(), (signal(15), DISCONNECTED));
}

#[test]
fn grace_ends_with_a_caller_that_comes_back_and_is_counted_anew() {
    let marker = Marker::new();
    // So long that a busy machine does not use it up between a server's death and the next one's coming.
    let grace = Duration::from_secs(20);
    let mut running = start(OnDisconnect::Grace(grace), &marker);
    let (path, remains) = (running.server.path.clone(), running.server.remains.take());
    drop(running);
    let mut server = Server::find(&path);
    server.remains = remains;
    server.greet(Stage::Running);
    let running = Running::of(server);
    running.attach(1, 0);
    running.attach(0, 0);
    running.attach(1, 0);
    // It lives for as long as a caller is there; what it does not outlive is a caller's signal.
    let mut running = running;
    assert_eq!(running.step_within(SHORT).map(|exit| exit.outcome), None);
    assert!(running.signal(15));
    assert_eq!(running.end().ending(), (signal(15), ExitReason::Signal));
}

#[test]
fn detached_it_runs_on() {
    let mut command = shell("echo ready; read line; exit 3");
    command.on_disconnect = OnDisconnect::Detach;
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    running.attach(0, 0);
    let (path, remains) = (running.server.path.clone(), running.server.remains.take());
    drop(running);
    let mut server = Server::find(&path);
    server.remains = remains;
    server.greet(Stage::Running);
    let mut running = Running::of(server);
    running.write(b"\n", true);
    assert_eq!(running.end().ending(), (code(3), ExitReason::Own));
}

/// Nobody is there any more to be told, but what it wrote is kept.
#[test]
fn what_has_ended_by_itself_is_drained_without_callers_too() {
    let marker = Marker::new();
    let mut command = shell(format!(
        "sleep {marker} & echo ready; head -c 300000 /dev/zero; exit 4"
    ));
    command.on_disconnect = OnDisconnect::Kill;
    let mut running = command.start();
    running.until_report(|report| match report {
        remex_supervisor::durable::message::Report::Grown { through, .. } if *through >= 2 => {
            Some(())
        }
        _ => None,
    });
    let told = end_without_server(running);
    let (status, reason) = told.ending();
    // The server's death came first, or its own end.
    if reason == ExitReason::Own {
        assert_eq!(status, code(4));
        assert_eq!(told.stdout.len(), 300_006);
    } else {
        assert_eq!(reason, DISCONNECTED);
    }
}

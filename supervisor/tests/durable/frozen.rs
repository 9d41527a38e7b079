//! A supervisor that is stopped answers nothing, and holds nobody up who has to do with it.

use std::{
    fs,
    io::ErrorKind,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use remex_supervisor::{
    durable::{
        FolderLock, Link,
        message::{LinkRequest, Report},
    },
    lifecycle::outcome::ExitReason,
    process::TreeRecord,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    commands::{Running, shell},
    scenarios::{marker::Marker, told::code},
    server::spawner,
    survival::until,
};

/// Far more than what does not wait takes, on a busy machine too, and far less than a supervisor that is stopped for good.
const AT_ONCE: Duration = Duration::from_secs(20);

/// More than any socket has room for.
const MANY: u32 = 1_000_000;

fn stop(running: &Running) -> Pid {
    let supervisor = Pid::from_raw(running.server.supervisor().unwrap()).unwrap();
    kill_process(supervisor, Signal::STOP).unwrap();
    until("stopped", || {
        let stat = fs::read_to_string(format!("/proc/{supervisor}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    });
    supervisor
}

#[test]
fn a_stopped_supervisor_holds_up_no_server() {
    let mut command = shell("echo ready; read line; echo got $line; exit 4");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let supervisor = stop(&running);
    let server = &mut running.server;
    let begin = Instant::now();
    let mut asked = 0;
    let full = loop {
        match server.link.send(&LinkRequest::GetStatus { request: asked }) {
            Ok(()) => asked += 1,
            Err(error) => break error,
        }
        assert!(asked < MANY);
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    while let Ok(report) = server.link.receive() {
        // What it had said before.
        assert!(matches!(report, Some(Report::Grown { .. })), "{report:?}");
    }
    let mut others = Vec::new();
    let full = loop {
        match Link::connect(server.folder.as_fd()) {
            Ok(link) => others.push(link),
            Err(error) => break error,
        }
        assert!(others.len() < 1000);
    };
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    assert!(FolderLock::take(server.folder.as_fd()).unwrap().is_none());
    let holder = FolderLock::holder(server.folder.as_fd()).unwrap();
    assert_eq!(holder.and_then(Pid::from_raw), Some(supervisor));
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    drop(others);
    kill_process(supervisor, Signal::CONT).unwrap();
    // All that was asked is answered, and it goes on.
    for expected in 0..asked {
        running.until_report(|report| match report {
            Report::Status { request, .. } if *request == expected => Some(()),
            _ => None,
        });
    }
    running.write(b"it\n", true);
    let told = running.end();
    assert_eq!(told.text(), "ready\ngot it\n");
    assert_eq!(told.ending(), (code(4), ExitReason::Own));
}

/// Whoever waits for one no longer has its pid, and what it leaves is anybody's to kill.
#[test]
fn a_stopped_supervisor_can_be_killed_and_its_tree_too() {
    let marker = Marker::new();
    let text = format!("setsid sleep {marker} & echo ready; exec sleep {marker}");
    let mut running = shell(text).start();
    running.until_ready();
    until("both of them", || marker.processes().len() == 2);
    let supervisor = stop(&running);
    kill_process(supervisor, Signal::KILL).unwrap();
    let server = &mut running.server;
    while server.report().is_some() {}
    until("free", || {
        FolderLock::take(server.folder.as_fd()).unwrap().is_some()
    });
    let _lock = FolderLock::take(server.folder.as_fd()).unwrap().unwrap();
    let tree = TreeRecord::read(server.folder.as_fd()).unwrap().unwrap();
    until("gone", || spawner().kill_durable(&tree));
    marker.assert_gone();
}

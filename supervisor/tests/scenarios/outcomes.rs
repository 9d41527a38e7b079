//! How commands end by themselves, and by their callers' signals.

use std::time::Duration;

use remex_supervisor::lifecycle::{life::MAX_SIGNAL, outcome::ExitReason};

use super::{
    marker::Marker,
    told::{code, signal},
};
use crate::commands::shell;

/// How often something is looked at that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

#[test]
fn exit_codes() {
    for status in [0, 1, 7, 255] {
        let told = shell(format!("echo out; exit {status}")).run();
        assert_eq!(told.ending(), (code(status), ExitReason::Own));
        assert_eq!(told.text(), "out\n");
    }
}

#[test]
fn a_signal_of_its_own_is_told_from_a_code() {
    for number in [1, 9, 15, 34, MAX_SIGNAL] {
        let told = shell(format!("kill -{number} $$")).run();
        assert_eq!(told.ending(), (signal(number), ExitReason::Own));
    }
}

#[test]
fn a_callers_signal_that_kills_is_the_reason() {
    // HUP, INT, QUIT without a core, USR1, KILL, TERM, and real-time ones.
    for number in [1, 2, 3, 10, 9, 15, 34, MAX_SIGNAL] {
        let marker = Marker::new();
        let text = format!("ulimit -c 0; echo ready; exec sleep {marker}");
        let mut running = shell(text).start();
        running.until_ready();
        running.signal(number);
        let told = running.end();
        assert_eq!(told.ending(), (signal(number), ExitReason::Signal));
        marker.assert_gone();
    }
}

#[test]
fn a_callers_signal_that_is_caught_is_not() {
    let text = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep .1; done";
    let mut running = shell(text).start();
    running.until_ready();
    running.signal(15);
    let told = running.end();
    assert_eq!(told.ending(), (code(3), ExitReason::Own));
    assert_eq!(told.text(), "ready\ncaught\n");
}

#[test]
fn a_stopped_command_goes_on_when_it_is_continued() {
    let mut running = shell("echo ready; read line; echo $line");
    running.stdin_open = true;
    let mut running = running.start();
    running.until_ready();
    running.signal(libc::SIGSTOP);
    while running.state() != Some('T') {
        assert_eq!(running.step_within(LOOK_AGAIN), None);
    }
    running.write(b"on\n", true);
    running.signal(libc::SIGCONT);
    let told = running.end();
    assert_eq!(told.ending(), (code(0), ExitReason::Own));
    assert_eq!(told.text(), "ready\non\n");
}

#[test]
fn what_is_no_signal_is_none() {
    let mut running = shell("echo ready; read line; exit 4");
    running.stdin_open = true;
    let mut running = running.start();
    running.until_ready();
    for number in [i32::MIN, -9, 0, MAX_SIGNAL + 1, i32::MAX] {
        running.signal(number);
    }
    running.write(b"\n", true);
    assert_eq!(running.end().ending(), (code(4), ExitReason::Own));
}

#[test]
fn a_callers_kill_takes_the_tree() {
    let marker = Marker::new();
    let text = format!(
        "trap '' TERM; sleep {marker} & setsid sleep {marker} & (setsid sleep {marker} &) & echo ready; wait"
    );
    let mut running = shell(text).start();
    running.until_ready();
    running.signal(9);
    assert_eq!(running.end().ending(), (signal(9), ExitReason::Signal));
    marker.assert_gone();
}

//! Readers that hold a command's output up, or go; and one that comes at its end.

use std::time::Duration;

use remex_supervisor::lifecycle::{
    drain::DRAIN_BOUND,
    outcome::{Cause, ExitReason},
};

use crate::{
    commands::shell,
    outlets::Answer,
    scenarios::{
        marker::Marker,
        streams::{LARGE, assert_same},
        told::{code, signal},
    },
};

/// A step that only looks.
const AT_ONCE: Duration = Duration::ZERO;

/// Longer than a short command takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Its reader has room for the next event at every other step alone.
#[test]
fn to_a_slow_reader() {
    let mut running = shell("head -c 5000000 /dev/zero; echo end; exit 2").start();
    while running.0.engine.exit().is_none() {
        running.set_room(false);
        running.step_within(AT_ONCE);
        running.set_room(true);
        running.step_within(AT_ONCE);
    }
    let told = running.end();
    assert_same(&told.stdout[..LARGE], &vec![0; LARGE]);
    assert_eq!(&told.stdout[LARGE..], b"end\n");
    assert_eq!(told.ending(), (code(2), ExitReason::Own));
}

/// What was written before the end is owed, however long a reader without room holds it up.
#[test]
fn to_a_reader_that_comes_back_after_the_end() {
    // Part of it is read, the rest waits in the pipe.
    let mut running = shell("head -c 70000 /dev/zero; exit 2").start();
    running.set_room(false);
    while running.0.engine.wants(running.0.now()).leader.is_some() {
        assert_eq!(running.step(), None);
    }
    let until = running.0.now() + DRAIN_BOUND + DRAIN_BOUND / 5;
    while running.0.now() < until {
        let rest = until.saturating_sub(running.0.now());
        assert_eq!(running.step_within(rest), None);
    }
    running.set_room(true);
    let told = running.end();
    assert_same(&told.stdout, &vec![0; 70_000]);
    assert_eq!(told.ending(), (code(2), ExitReason::Own));
}

/// An outlet that leaves output in its pipe reads it once, at the end.
#[test]
fn read_at_the_end() {
    let mut host = shell("echo one; echo two; exit 3").start_into(|_| Answer::default());
    while host.step(PATIENCE).is_none() {}
    assert_eq!(host.engine.exit().unwrap().outcome.status, Some(code(3)));
    assert_eq!(host.engine.outlet().stdout, b"one\ntwo\n");
}

#[test]
fn a_reader_that_goes_takes_the_command_with_it() {
    let marker = Marker::new();
    let mut running = shell(format!("sleep {marker} & echo ready; exec yes")).start();
    running.until_ready();
    running.abandon();
    let exit = loop {
        if let Some(exit) = running.step() {
            break exit;
        }
    };
    assert_eq!(exit.outcome.reason, ExitReason::Ended(Cause::Disconnect));
    assert_eq!(exit.outcome.status, Some(signal(15)));
    assert!(running.0.engine.counters().is_abandoned());
    // Nobody is left to be told, and that is no reason to wait.
    let now = running.0.now();
    assert!(running.0.engine.deliver(now, || {}));
    marker.assert_gone();
}

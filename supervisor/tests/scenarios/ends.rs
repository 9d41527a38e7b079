//! How the server ends a command: its timeout, its caller gone, the shutdown.

use std::time::Duration;

use remex_supervisor::lifecycle::outcome::{Cause, ExitReason};

use super::{
    marker::Marker,
    told::{code, signal},
};
use crate::commands::{CAUSES, shell};

const SOON: Duration = Duration::from_millis(50);

#[test]
fn term_ends_what_minds_it() {
    for &cause in CAUSES {
        let marker = Marker::new();
        let text = format!("setsid sleep {marker} & echo ready; exec sleep {marker}");
        let mut running = shell(text).start();
        running.until_ready();
        running.end_for(cause);
        let told = running.end();
        assert_eq!(told.ending(), (signal(15), ExitReason::Ended(cause)));
        marker.assert_gone();
    }
}

#[test]
fn kill_ends_what_does_not() {
    for &cause in CAUSES {
        let marker = Marker::new();
        let text = format!("trap '' TERM; setsid sleep {marker} & echo ready; exec sleep {marker}");
        let mut command = shell(text);
        command.kill_after = SOON;
        let mut running = command.start();
        running.until_ready();
        let asked = running.now();
        running.end_for(cause);
        let told = running.end();
        assert_eq!(told.ending(), (signal(9), ExitReason::Ended(cause)));
        assert!(told.exit.unwrap().wall_time >= asked + SOON);
        marker.assert_gone();
    }
}

#[test]
fn a_command_has_time_to_end_well() {
    let mut running =
        shell("trap 'echo bye; exit 6' TERM; echo ready; while :; do sleep .1; done").start();
    running.until_ready();
    running.end_for(Cause::Shutdown);
    let told = running.end();
    assert_eq!(told.ending(), (code(6), ExitReason::Ended(Cause::Shutdown)));
    assert_eq!(told.text(), "ready\nbye\n");
}

#[test]
fn a_timeout_that_term_ends_counts_from_the_spawn() {
    let marker = Marker::new();
    let mut command = shell(format!("sleep {marker} & exec sleep {marker}"));
    command.timeout = Some(SOON);
    let told = command.run();
    let reason = ExitReason::Ended(Cause::Timeout);
    assert_eq!(told.ending(), (signal(15), reason));
    assert!(told.exit.unwrap().wall_time >= SOON);
    marker.assert_gone();
}

#[test]
fn a_timeout_that_needs_the_kill() {
    // On a busy machine the first of them may come before the trap is set.
    for timeout in [1, 10, 50] {
        let marker = Marker::new();
        let text = format!("trap '' TERM; echo ready; sleep {marker} & exec sleep {marker}");
        let mut command = shell(text);
        command.timeout = Some(Duration::from_millis(100 * timeout));
        command.kill_after = SOON;
        let told = command.run();
        marker.assert_gone();
        let (status, reason) = told.ending();
        assert_eq!(reason, ExitReason::Ended(Cause::Timeout));
        if told.text() == "ready\n" {
            assert_eq!(status, signal(9));
            return;
        }
    }
    panic!("the command never came to its trap");
}

#[test]
fn a_timeout_that_is_not_reached_is_none() {
    let mut command = shell("exit 2");
    command.timeout = Some(Duration::MAX);
    assert_eq!(command.run().ending(), (code(2), ExitReason::Own));
}

//! What a command writes.

use std::time::Duration;

use remex_supervisor::lifecycle::{drain::DRAIN_BOUND, outcome::ExitReason};

use crate::{
    commands::{code, shell},
    outlets::Answer,
};

/// More than all that is kept on the way.
const LARGE: usize = 5_000_000;

/// A step that only looks.
const AT_ONCE: Duration = Duration::ZERO;

/// Longer than a short command takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Bytes of all values, in no period that a buffer has.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(LARGE).collect()
}

/// Not `assert_eq`, whose message would be 15 MB.
#[track_caller]
fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "some byte differs");
}

#[test]
fn both() {
    let told = shell("echo out; echo err >&2; exec >&-; echo more >&2; exit 1").run();
    assert_eq!(told.stdout, b"out\n");
    assert_eq!(told.stderr, b"err\nmore\n");
    assert_eq!(told.ending(), (code(1), ExitReason::Own));
}

#[test]
fn both_at_once_and_large() {
    let text = "head -c 5000000 /dev/zero & head -c 5000000 /dev/zero >&2; wait";
    let told = shell(text).run();
    assert_same(&told.stdout, &vec![0; LARGE]);
    assert_same(&told.stderr, &vec![0; LARGE]);
}

#[test]
fn binary() {
    let noise = noise();
    let mut command = shell("exec cat");
    command.stdin = noise.clone();
    assert_same(&command.run().stdout, &noise);
}

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

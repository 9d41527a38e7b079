//! The life of an execution, case by case and in any order.

mod drain;
mod ending;
mod given_up;
mod model;
mod signals;
mod until_end;

use super::{
    super::{
        drain::{DRAIN_BOUND, DRAIN_BYTES, DRAIN_QUIET},
        ending::{KILL_BOUND, KILL_LIMIT, TREE_POLL},
    },
    *,
};

const KILL_AFTER: Duration = Duration::from_secs(2);
const CONT: i32 = libc::SIGCONT;
const SUCCESS: ExitStatus = ExitStatus::Code(0);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn died_of(number: i32) -> ExitStatus {
    ExitStatus::Signal {
        number,
        core_dumped: false,
    }
}

const fn exited(status: ExitStatus, unread: usize) -> Fact {
    Fact::Exited {
        status,
        unread: [unread, 0],
    }
}

/// A read of stdout.
const fn output(bytes: usize) -> Fact {
    Fact::Output { stream: 0, bytes }
}

/// The end of stdout; there is no stderr, unless a test says so.
const OUTPUT_ENDED: Fact = Fact::OutputEnded { stream: 0 };

const TREE_GONE: Fact = Fact::TreeGone {
    unread: [0; STREAMS],
};

const fn finish(status: ExitStatus, reason: ExitReason) -> Action {
    Action::Finish(Outcome {
        status: Some(status),
        reason,
        unkillable: false,
        output_cut: false,
    })
}

/// The same where something holds the output open.
const fn close_and_finish(status: ExitStatus, reason: ExitReason) -> [Action; 2] {
    [Action::CloseOutput, finish(status, reason)]
}

/// The life of a command with stdout alone.
fn life(timeout: Option<Duration>) -> Life {
    without_stderr(Life::new(timeout, KILL_AFTER))
}

fn without_stderr(mut life: Life) -> Life {
    let actions = life.on_fact(Duration::ZERO, Fact::OutputEnded { stream: 1 });
    assert!(actions.is_empty());
    life
}

/// Feeds each fact at its time, and compares what it is answered with.
fn play(life: &mut Life, script: &[(Duration, Fact, &[Action])]) {
    for (step, (now, fact, expected)) in script.iter().enumerate() {
        let actions = life.on_fact(*now, *fact);
        assert_eq!(actions, *expected, "step {step}: {fact:?} at {now:?}");
    }
}

/// Delivers deadlines until one brings an action, and returns when that was and what it brought.
fn next_actions(life: &mut Life) -> (Duration, Vec<Action>) {
    const DEADLINES: usize = 1000;
    for _ in 0..DEADLINES {
        let now = life.deadline().expect("nothing is waited for");
        let actions = life.on_fact(now, Fact::Deadline);
        if !actions.is_empty() {
            return (now, actions);
        }
    }
    panic!("deadlines that bring nothing");
}

fn is_finish(action: &Action) -> bool {
    matches!(action, Action::Finish(_))
}

#[test]
fn the_limits_are_those_that_callers_know() {
    assert_eq!(DRAIN_QUIET, ms(100));
    assert_eq!(DRAIN_BOUND, ms(1000));
    assert_eq!(TREE_POLL, ms(5));
    assert_eq!(KILL_BOUND, ms(900));
    assert_eq!(KILL_LIMIT, ms(30_000));
    assert_eq!(SHUTDOWN_PATIENCE, ms(2000));
    assert_eq!(MAX_SIGNAL, 64);
}

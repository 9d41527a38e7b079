//! The life of an execution, case by case and in any order.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    drain::{DRAIN_BOUND, DRAIN_BYTES, DRAIN_QUIET},
    life::{
        Action, Cause, ExitReason, Fact, KILL_BOUND, KILL_LIMIT, Life, MAX_SIGNAL, Outcome,
        SHUTDOWN_PATIENCE, TREE_POLL,
    },
    output::STREAMS,
};
use crate::process::ExitStatus;

const KILL_AFTER: Duration = Duration::from_secs(2);
const TERM: i32 = libc::SIGTERM;
const KILL: i32 = libc::SIGKILL;
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

#[test]
fn a_command_that_ends_by_itself_ends_with_its_output() {
    play(
        &mut life(None),
        &[
            (ms(1), output(9), &[]),
            (ms(2), exited(ExitStatus::Code(7), 4), &[]),
            (ms(3), output(4), &[]),
            (
                ms(4),
                OUTPUT_ENDED,
                &[finish(ExitStatus::Code(7), ExitReason::Own)],
            ),
            (ms(5), Fact::Signal(TERM), &[]),
        ],
    );
    // The output may end first.
    play(
        &mut life(None),
        &[
            (ms(1), OUTPUT_ENDED, &[]),
            (
                ms(2),
                exited(SUCCESS, 0),
                &[finish(SUCCESS, ExitReason::Own)],
            ),
        ],
    );
}

#[test]
fn silent_others_that_hold_the_output_are_waited_for_as_long_as_the_quiet_bound() {
    let mut life = life(None);
    play(&mut life, &[(ms(10), exited(SUCCESS, 0), &[])]);
    assert_eq!(life.deadline(), Some(ms(10) + DRAIN_QUIET));
    // Each read starts that time anew.
    play(&mut life, &[(ms(60), output(1), &[])]);
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    assert_eq!(
        next_actions(&mut life),
        (ms(60) + DRAIN_QUIET, end.to_vec())
    );
    assert_eq!(life.deadline(), None);
}

#[test]
fn others_that_keep_writing_are_cut_off_at_the_bound() {
    let mut life = life(None);
    let end = ms(10) + DRAIN_BOUND;
    play(&mut life, &[(ms(10), exited(SUCCESS, 0), &[])]);
    let mut now = ms(10);
    while now + ms(50) < end {
        now += ms(50);
        play(&mut life, &[(now, output(1), &[])]);
    }
    let (at, actions) = next_actions(&mut life);
    assert_eq!(at, end);
    assert_eq!(actions[0], Action::CloseOutput);
}

#[test]
fn a_reader_that_holds_the_output_up_stops_the_clock() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(10), exited(SUCCESS, 0), &[]),
            (ms(50), Fact::Blocked, &[]),
        ],
    );
    assert_eq!(life.deadline(), None, "the clock runs while nobody reads");
    let hours = Duration::from_hours(5);
    play(
        &mut life,
        &[(hours, Fact::Unblocked, &[]), (hours, Fact::Blocked, &[])],
    );
    assert_eq!(life.deadline(), None);
    play(&mut life, &[(2 * hours, Fact::Unblocked, &[])]);
    assert_eq!(life.deadline(), Some(2 * hours + DRAIN_QUIET));
    // What has run of it before counts: 40 ms are gone.
    let mut now = 2 * hours;
    while now + ms(100) < 2 * hours + DRAIN_BOUND {
        now += ms(50);
        play(&mut life, &[(now, output(1), &[])]);
    }
    let left = DRAIN_BOUND.saturating_sub(ms(40));
    assert_eq!(life.deadline(), Some(2 * hours + left));
}

#[test]
fn a_leader_that_ends_while_the_reader_holds_up_starts_no_clock() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(1), Fact::Blocked, &[]),
            (ms(2), exited(SUCCESS, 0), &[]),
        ],
    );
    assert_eq!(life.deadline(), None);
    play(&mut life, &[(ms(9000), Fact::Unblocked, &[])]);
    assert_eq!(life.deadline(), Some(ms(9000) + DRAIN_QUIET));
}

#[test]
fn what_was_written_before_the_end_is_owed_whatever_the_clock_says() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(1), exited(SUCCESS, 10), &[]),
            (ms(5000), output(9), &[]),
            (ms(9000), Fact::Deadline, &[]),
        ],
    );
    assert_eq!(life.deadline(), None);
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    play(
        &mut life,
        // The last byte comes long after the bound.
        &[(ms(9001), output(1), &end)],
    );
}

#[test]
fn a_timeout_is_term_and_then_kill_until_the_tree_is_gone() {
    let mut life = life(Some(ms(100)));
    let reason = ExitReason::Ended(Cause::Timeout);
    let begin = vec![Action::SignalTree(TERM), Action::SignalTree(CONT)];
    assert_eq!(next_actions(&mut life), (ms(100), begin));
    let kill_at = ms(100) + KILL_AFTER;
    assert_eq!(next_actions(&mut life), (kill_at, vec![Action::KillTree]));
    let again = vec![Action::KillTree, Action::LookAtTree];
    assert_eq!(next_actions(&mut life), (kill_at + TREE_POLL, again));
    let at = kill_at + ms(10);
    play(
        &mut life,
        &[
            // A tree is not gone as long as its leader is not.
            (at, TREE_GONE, &[]),
            (at, exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (at, OUTPUT_ENDED, &[]),
            (at, TREE_GONE, &[finish(died_of(KILL), reason)]),
        ],
    );
}

#[test]
fn a_leader_that_ends_on_term_leaves_the_rest_its_time() {
    let mut life = life(Some(ms(100)));
    next_actions(&mut life);
    play(
        &mut life,
        &[
            (
                ms(110),
                exited(ExitStatus::Code(3), 0),
                &[Action::LookAtTree],
            ),
            (ms(110), OUTPUT_ENDED, &[]),
        ],
    );
    // The tree is looked at, and killed when its time is up.
    assert_eq!(
        next_actions(&mut life),
        (ms(110) + TREE_POLL, vec![Action::LookAtTree])
    );
    let (at, actions) = std::iter::repeat_with(|| next_actions(&mut life))
        .take(1000)
        .find(|(_, actions)| actions.contains(&Action::KillTree))
        .unwrap();
    assert!(at >= ms(100) + KILL_AFTER, "{at:?}: {actions:?}");
    let end = [finish(
        ExitStatus::Code(3),
        ExitReason::Ended(Cause::Timeout),
    )];
    play(&mut life, &[(at, TREE_GONE, &end)]);
}

#[test]
fn a_timeout_after_the_leaders_end_changes_nothing() {
    let mut life = life(Some(ms(100)));
    play(
        &mut life,
        &[
            (ms(90), exited(SUCCESS, 5), &[]),
            (ms(100), Fact::Deadline, &[]),
            (ms(120), output(5), &[]),
        ],
    );
    let (_, actions) = next_actions(&mut life);
    assert_eq!(actions, close_and_finish(SUCCESS, ExitReason::Own));
}

#[test]
fn a_callers_kill_is_at_once_and_on_the_whole_tree() {
    let mut life = life(Some(ms(100)));
    play(
        &mut life,
        &[
            (ms(5), Fact::Signal(KILL), &[Action::KillTree]),
            // Only once: the tree is killed until it is gone anyway.
            (ms(6), Fact::Signal(KILL), &[]),
            (ms(7), Fact::End(Cause::Disconnect), &[]),
            (ms(8), exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (ms(8), TREE_GONE, &[]),
            (
                ms(9),
                OUTPUT_ENDED,
                &[finish(died_of(KILL), ExitReason::Signal)],
            ),
        ],
    );
}

#[test]
fn a_callers_kill_ends_the_patience_of_a_timeout() {
    let mut life = life(Some(ms(100)));
    next_actions(&mut life);
    play(
        &mut life,
        &[(ms(150), Fact::Signal(KILL), &[Action::KillTree])],
    );
    assert_eq!(life.deadline(), Some(ms(150) + TREE_POLL));
    play(
        &mut life,
        &[
            (ms(151), exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (ms(151), OUTPUT_ENDED, &[]),
            // remexd had begun to end it, so that is why.
            (
                ms(151),
                TREE_GONE,
                &[finish(died_of(KILL), ExitReason::Ended(Cause::Timeout))],
            ),
        ],
    );
}

#[test]
fn a_look_that_takes_long_does_not_bring_the_next_one_nearer() {
    let mut life = life(None);
    life.on_fact(ms(1), Fact::Signal(KILL));
    let (now, actions) = next_actions(&mut life);
    assert!(actions.contains(&Action::LookAtTree));
    life.on_fact(now + ms(300), Fact::TreeLives { held: false });
    assert_eq!(life.deadline(), Some(now + ms(300) + TREE_POLL));
}

#[test]
fn what_goes_first_decides_why() {
    for (first, second, reason) in [
        (Cause::Disconnect, Cause::Shutdown, Cause::Disconnect),
        (Cause::Shutdown, Cause::Disconnect, Cause::Shutdown),
    ] {
        let mut life = life(Some(ms(100)));
        let begin = [Action::SignalTree(TERM), Action::SignalTree(CONT)];
        play(
            &mut life,
            &[
                (ms(1), Fact::End(first), &begin),
                (ms(2), Fact::End(second), &[]),
                (ms(3), OUTPUT_ENDED, &[]),
                // Whatever code it exits with.
                (ms(4), exited(SUCCESS, 0), &[Action::LookAtTree]),
                (
                    ms(4),
                    TREE_GONE,
                    &[finish(SUCCESS, ExitReason::Ended(reason))],
                ),
            ],
        );
    }
}

#[test]
fn a_caller_who_leaves_during_the_drain_ends_it_and_kills_nothing() {
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    play(
        &mut life(None),
        &[
            (ms(1), exited(SUCCESS, 100), &[]),
            (ms(2), Fact::End(Cause::Disconnect), &end),
        ],
    );
    // Also if the reader held it up.
    play(
        &mut life(None),
        &[
            (ms(1), Fact::Blocked, &[]),
            (ms(2), exited(SUCCESS, 100), &[]),
            (ms(3), Fact::Unblocked, &[]),
            (ms(3), Fact::End(Cause::Disconnect), &end),
        ],
    );
}

/// Whatever ends one that is drained to its end ends its tree, and the leader's code stays.
#[test]
fn an_end_during_a_drain_to_the_end_ends_the_tree() {
    for cause in [Cause::Timeout, Cause::Disconnect, Cause::Shutdown] {
        let mut life = life((cause == Cause::Timeout).then(|| ms(5000))).until_end(true);
        let (at, end) = match cause {
            Cause::Timeout => (ms(5000), Fact::Deadline),
            _ => (ms(5000), Fact::End(cause)),
        };
        play(
            &mut life,
            &[
                (ms(10), exited(SUCCESS, 0), &[]),
                // No silence is long enough.
                (ms(4000), Fact::Deadline, &[]),
                (
                    at,
                    end,
                    &[Action::SignalTree(TERM), Action::SignalTree(CONT)],
                ),
                (at, Fact::Deadline, &[Action::LookAtTree]),
                (at, Fact::TreeLives { held: false }, &[]),
                (at + KILL_AFTER, Fact::Deadline, &[Action::KillTree]),
                // What it wrote last is still read.
                (at + KILL_AFTER + ms(1), TREE_GONE, &[]),
                (
                    at + KILL_AFTER + ms(2),
                    OUTPUT_ENDED,
                    &[finish(SUCCESS, ExitReason::Ended(cause))],
                ),
            ],
        );
    }
}

/// One that left the tree holds the output up no longer than any other drain.
#[test]
fn what_escaped_the_end_of_a_drain_to_the_end_is_not_waited_for() {
    let mut life = life(None).until_end(true);
    let cause = Cause::Disconnect;
    play(
        &mut life,
        &[
            (ms(10), exited(SUCCESS, 0), &[]),
            (
                ms(3000),
                Fact::End(cause),
                &[Action::SignalTree(TERM), Action::SignalTree(CONT)],
            ),
            (ms(3001), TREE_GONE, &[]),
            (
                ms(3001) + DRAIN_QUIET,
                Fact::Deadline,
                &[
                    Action::CloseOutput,
                    finish(SUCCESS, ExitReason::Ended(cause)),
                ],
            ),
        ],
    );
}

#[test]
fn a_tree_that_survives_its_kill_is_reported_and_not_awaited() {
    given_up_after(KILL_BOUND, true);
}

#[test]
fn a_tree_that_can_be_killed_is_killed_again_for_long() {
    given_up_after(KILL_LIMIT, false);
}

fn given_up_after(bound: Duration, held: bool) {
    let mut life = life(None);
    play(
        &mut life,
        &[(ms(10), Fact::Signal(KILL), &[Action::KillTree])],
    );
    let give_up_at = ms(10) + bound;
    let (at, actions) = std::iter::repeat_with(|| {
        let (at, actions) = next_actions(&mut life);
        if actions.contains(&Action::LookAtTree) {
            life.on_fact(at, Fact::TreeLives { held });
        }
        (at, actions)
    })
    .take(10_000)
    .find(|(_, actions)| !actions.contains(&Action::KillTree))
    .unwrap();
    assert!(at >= give_up_at && at <= give_up_at + TREE_POLL, "{at:?}");
    let outcome = Outcome {
        unkillable: true,
        ..Outcome::LOST
    };
    assert_eq!(actions, [Action::CloseOutput, Action::Finish(outcome)]);
}

#[test]
fn a_leader_that_is_gone_with_an_unkillable_rest_has_its_status() {
    let mut life = life(Some(ms(10)));
    next_actions(&mut life);
    play(
        &mut life,
        &[
            (ms(11), exited(died_of(TERM), 0), &[Action::LookAtTree]),
            (ms(11), OUTPUT_ENDED, &[]),
        ],
    );
    let last = std::iter::repeat_with(|| next_actions(&mut life).1)
        .take(10_000)
        .find_map(|actions| actions.last().copied().filter(is_finish));
    let outcome = Outcome {
        status: Some(died_of(TERM)),
        reason: ExitReason::Ended(Cause::Timeout),
        unkillable: true,
        ..Outcome::LOST
    };
    assert_eq!(last, Some(Action::Finish(outcome)));
}

#[test]
fn signals_go_where_they_belong() {
    for number in 1..=MAX_SIGNAL {
        let expected = match number {
            KILL => Action::KillTree,
            libc::SIGSTOP | libc::SIGCONT => Action::SignalTree(number),
            _ => Action::SignalGroup(number),
        };
        play(
            &mut life(None),
            &[(ms(1), Fact::Signal(number), &[expected])],
        );
    }
    for number in [i32::MIN, -1, 0, MAX_SIGNAL + 1, i32::MAX] {
        play(&mut life(None), &[(ms(1), Fact::Signal(number), &[])]);
    }
}

#[test]
fn a_signal_is_the_reason_only_if_it_was_sent_before_the_end() {
    for (sent, status, reason) in [
        (15, died_of(15), ExitReason::Signal),
        (MAX_SIGNAL, died_of(MAX_SIGNAL), ExitReason::Signal),
        (2, died_of(15), ExitReason::Own),
        (15, ExitStatus::Code(143), ExitReason::Own),
    ] {
        let mut life = life(None);
        life.on_fact(ms(1), Fact::Signal(sent));
        life.on_fact(ms(2), exited(status, 0));
        let actions = life.on_fact(ms(3), OUTPUT_ENDED);
        assert_eq!(actions, [finish(status, reason)], "{sent}");
    }
    // One that comes in the drain still goes to what lives of the group, but ended nothing.
    play(
        &mut life(None),
        &[
            (ms(1), exited(died_of(15), 0), &[]),
            (ms(2), Fact::Signal(15), &[Action::SignalGroup(15)]),
            (ms(3), OUTPUT_ENDED, &[finish(died_of(15), ExitReason::Own)]),
        ],
    );
}

fn is_finish(action: &Action) -> bool {
    matches!(action, Action::Finish(_))
}

fn is_signal(action: &Action) -> bool {
    matches!(
        action,
        Action::SignalGroup(_) | Action::SignalTree(_) | Action::KillTree
    )
}

fn any_event() -> impl Strategy<Value = Fact> {
    let status = prop_oneof![
        any::<u8>().prop_map(ExitStatus::Code),
        (1..=MAX_SIGNAL).prop_map(died_of),
    ];
    let cause = prop_oneof![
        Just(Cause::Timeout),
        Just(Cause::Disconnect),
        Just(Cause::Shutdown)
    ];
    prop_oneof![
        4 => (0..STREAMS, 1..70_000usize).prop_map(|(stream, bytes)| Fact::Output { stream, bytes }),
        2 => (0..STREAMS).prop_map(|stream| Fact::OutputEnded { stream }),
        2 => Just(Fact::Blocked),
        2 => Just(Fact::Unblocked),
        1 => (status, [0..100_000usize, 0..100_000usize])
            .prop_map(|(status, unread)| Fact::Exited { status, unread }),
        2 => (0..=MAX_SIGNAL + 1).prop_map(Fact::Signal),
        1 => cause.prop_map(Fact::End),
        2 => Just(TREE_GONE),
        2 => any::<bool>().prop_map(|held| Fact::TreeLives { held }),
        4 => Just(Fact::Deadline),
    ]
}

/// A life with everything that it ever said.
struct Simulation {
    life: Life,
    now: Duration,
    actions: Vec<Action>,
    exit: Option<ExitStatus>,
    cause: Option<Cause>,
    sent_before_exit: Vec<i32>,
    killed: bool,
    blocked: bool,
    owed: [usize; STREAMS],
    ended: [bool; STREAMS],
}

impl Simulation {
    fn new(timeout: Option<Duration>) -> Self {
        Self {
            life: Life::new(timeout, KILL_AFTER),
            now: Duration::ZERO,
            actions: Vec::new(),
            exit: None,
            cause: None,
            sent_before_exit: Vec::new(),
            killed: false,
            blocked: false,
            owed: [0; STREAMS],
            ended: [false; STREAMS],
        }
    }

    fn is_finished(&self) -> bool {
        self.actions.iter().any(is_finish)
    }

    /// Delivers what is due until `until`, then `fact`.
    fn advance(&mut self, until: Duration) {
        const STEPS: usize = 100_000;
        for _ in 0..STEPS {
            match self.life.deadline() {
                Some(due) if due <= until => {
                    self.now = self.now.max(due);
                    self.tell(Fact::Deadline);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("the clock stands still at {:?}", self.now);
    }

    fn tell(&mut self, fact: Fact) {
        if !self.is_finished() {
            self.note(fact);
        }
        let actions = self.life.on_fact(self.now, fact);
        let ends = actions.contains(&Action::SignalTree(TERM));
        if ends && fact == Fact::Deadline {
            self.cause = Some(Cause::Timeout);
        }
        self.killed |= actions.contains(&Action::KillTree);
        self.actions.extend(actions);
    }

    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Exited { status, unread } if self.exit.is_none() => {
                self.exit = Some(status);
                self.owed = unread;
            }
            Fact::Signal(number) if self.exit.is_none() => self.sent_before_exit.push(number),
            Fact::End(cause) if self.exit.is_none() && !self.killed => {
                self.cause.get_or_insert(cause);
            }
            Fact::Blocked => self.blocked = true,
            Fact::Unblocked => self.blocked = false,
            Fact::Output { stream, bytes } => {
                self.owed[stream] = self.owed[stream].saturating_sub(bytes);
            }
            Fact::OutputEnded { stream } => self.ended[stream] = true,
            _ => {}
        }
    }

    /// What always happens in the end: the leader ends, the reader reads, the tree goes.
    fn end(&mut self) {
        if self.exit.is_none() {
            self.tell(exited(died_of(KILL), 0));
        }
        if self.blocked {
            self.tell(Fact::Unblocked);
        }
        for stream in 0..STREAMS {
            if self.owed[stream] > 0 {
                let bytes = self.owed[stream];
                self.tell(Fact::Output { stream, bytes });
            }
        }
        self.tell(TREE_GONE);
    }

    fn reason(&self) -> ExitReason {
        match (self.cause, self.exit) {
            (Some(cause), _) => ExitReason::Ended(cause),
            (None, Some(ExitStatus::Signal { number, .. }))
                if self.sent_before_exit.contains(&number) =>
            {
                ExitReason::Signal
            }
            (None, Some(_)) => ExitReason::Own,
            (None, None) => ExitReason::Lost,
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_events_ends_once_last_and_in_bounded_time(
        timeout in proptest::option::of(1..4000u64),
        facts in proptest::collection::vec((0..400u64, any_event()), 0..60),
    ) {
        let mut life = Simulation::new(timeout.map(Duration::from_millis));
        for (pause, fact) in facts {
            life.advance(life.now + ms(pause));
            life.tell(fact);
        }
        life.end();
        let bound = life.now + DRAIN_BOUND + KILL_LIMIT + KILL_AFTER;
        life.advance(bound);

        let finishes = life.actions.iter().filter(|action| is_finish(action)).count();
        prop_assert_eq!(finishes, 1, "{:?}", life.actions);
        // Last, so after it nothing is signalled: the leader's pid may be another's.
        prop_assert!(life.actions.last().is_some_and(is_finish), "{:?}", life.actions);
        prop_assert_eq!(life.life.deadline(), None);
        for number in 0..=MAX_SIGNAL {
            life.tell(Fact::Signal(number));
        }
        prop_assert!(life.actions.last().is_some_and(is_finish));
        prop_assert!(!life.actions.iter().skip_while(|action| !is_finish(action)).any(is_signal));
    }

    #[test]
    fn the_reason_follows_from_what_came_before_the_end(
        timeout in proptest::option::of(1..4000u64),
        facts in proptest::collection::vec((0..400u64, any_event()), 0..60),
    ) {
        let mut life = Simulation::new(timeout.map(Duration::from_millis));
        let mut finished = None;
        for (pause, fact) in facts {
            life.advance(life.now + ms(pause));
            life.tell(fact);
        }
        life.end();
        life.advance(life.now + Duration::from_mins(1));
        for action in &life.actions {
            if let Action::Finish(outcome) = action {
                finished = Some(*outcome);
            }
        }
        let outcome = finished.expect("it has finished");
        if outcome.status.is_some() {
            prop_assert_eq!(outcome.status, life.exit);
            prop_assert_eq!(outcome.reason, life.reason());
        } else {
            prop_assert!(outcome.unkillable);
        }
    }

    #[test]
    fn nothing_ends_while_its_output_is_owed_and_the_caller_there(
        unread in [0..1_000_000usize, 1..1_000_000usize],
        facts in proptest::collection::vec((0..5000u64, any_event()), 0..40),
    ) {
        let mut life = Simulation::new(None);
        life.tell(Fact::Exited { status: SUCCESS, unread });
        for (pause, fact) in facts {
            match fact {
                // A caller's kill, too, leaves what was written to be read.
                Fact::End(_) | Fact::OutputEnded { .. } => continue,
                _ => {}
            }
            life.advance(life.now + ms(pause));
            life.tell(fact);
            if life.owed != [0; STREAMS] {
                prop_assert!(!life.is_finished(), "{:?} bytes are lost", life.owed);
            }
        }
    }

    #[test]
    fn output_that_is_missing_never_goes_with_an_exit(
        unread in [0..1_000_000usize, 0..1_000_000usize],
        facts in proptest::collection::vec((0..5000u64, any_event()), 0..40),
    ) {
        let mut life = Simulation::new(None);
        life.tell(Fact::Exited { status: SUCCESS, unread });
        life.tell(Fact::End(Cause::Shutdown));
        for (pause, fact) in facts {
            if matches!(fact, Fact::End(Cause::Disconnect)) {
                continue;
            }
            life.advance(life.now + ms(pause));
            life.tell(fact);
        }
        life.advance(life.now + KILL_LIMIT + SHUTDOWN_PATIENCE);
        let outcome = life.actions.iter().find_map(|action| match action {
            Action::Finish(outcome) => Some(*outcome),
            _ => None,
        });
        let outcome = outcome.expect("a shutdown ends in bounded time");
        let is_missing = (0..STREAMS).any(|stream| !life.ended[stream] && life.owed[stream] > 0);
        prop_assert_eq!(outcome.output_cut, is_missing);
    }
}

#[test]
fn a_flood_on_one_stream_neither_delays_the_other_nor_lasts() {
    let mut life = Life::new(None, KILL_AFTER);
    let unread = [5, 4];
    let status = SUCCESS;
    play(&mut life, &[(ms(1), Fact::Exited { status, unread }, &[])]);
    let flood = DRAIN_BYTES + 5;
    assert_eq!(life.readable(0), flood);
    play(&mut life, &[(ms(2), output(flood), &[])]);
    assert_eq!(life.readable(0), 0);
    // stderr is still owed, however long it takes.
    assert_eq!(life.deadline(), None);
    let stderr = |bytes| Fact::Output { stream: 1, bytes };
    play(&mut life, &[(ms(9000), stderr(3), &[])]);
    assert_eq!(life.deadline(), None);
    play(
        &mut life,
        &[(
            ms(9001),
            stderr(1),
            &close_and_finish(SUCCESS, ExitReason::Own),
        )],
    );
}

#[test]
fn a_shutdown_waits_for_what_is_owed_and_then_says_that_it_cut_it() {
    let drained = |life: &mut Life| {
        play(
            life,
            &[
                (ms(1), exited(SUCCESS, 9), &[]),
                (ms(2), Fact::Blocked, &[]),
                (ms(3), Fact::End(Cause::Shutdown), &[]),
                (ms(4), output(8), &[]),
            ],
        );
        assert_eq!(life.deadline(), Some(ms(3) + SHUTDOWN_PATIENCE));
    };
    let mut life_of_a_reader = life(None);
    drained(&mut life_of_a_reader);
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    play(&mut life_of_a_reader, &[(ms(1000), output(1), &end)]);

    let mut life_without_one = life(None);
    drained(&mut life_without_one);
    let cut = Outcome {
        status: Some(SUCCESS),
        reason: ExitReason::Own,
        output_cut: true,
        ..Outcome::LOST
    };
    let end = vec![Action::CloseOutput, Action::Finish(cut)];
    assert_eq!(
        next_actions(&mut life_without_one),
        (ms(3) + SHUTDOWN_PATIENCE, end)
    );
}

/// Until its tree is gone, no time of the cut is waited for.
#[test]
fn a_kill_behind_a_shutdown_that_waits_for_its_reader_does_not_spin() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(1), exited(SUCCESS, 9), &[]),
            (ms(2), Fact::End(Cause::Shutdown), &[]),
            (ms(3), Fact::Signal(KILL), &[Action::KillTree]),
        ],
    );
    let late = ms(3) + SHUTDOWN_PATIENCE;
    life.on_fact(late, Fact::Deadline);
    assert!(life.deadline().is_some_and(|deadline| deadline > late));
}

#[test]
fn what_is_drained_to_its_end_is_ended_as_what_runs() {
    let mut life = without_stderr(Life::new(Some(ms(500)), KILL_AFTER).until_end(true));
    play(
        &mut life,
        &[
            (ms(1), exited(ExitStatus::Code(3), 0), &[]),
            (ms(2), output(1), &[]),
        ],
    );
    assert_eq!(life.readable(0), usize::MAX);
    let term = vec![Action::SignalTree(TERM), Action::SignalTree(CONT)];
    assert_eq!(next_actions(&mut life), (ms(500), term));
    let (_, look) = next_actions(&mut life);
    assert_eq!(look, [Action::LookAtTree]);
    let reason = ExitReason::Ended(Cause::Timeout);
    let unread = [7, 0];
    play(
        &mut life,
        &[
            (ms(510), Fact::TreeGone { unread }, &[]),
            (ms(511), output(7), &[]),
            (
                ms(512),
                OUTPUT_ENDED,
                &[finish(ExitStatus::Code(3), reason)],
            ),
        ],
    );
}

#[test]
fn a_tree_is_given_up_as_held_only_if_every_look_found_it_held() {
    let mut life = life(None);
    let killed = ms(1);
    play(
        &mut life,
        &[(killed, Fact::Signal(KILL), &[Action::KillTree])],
    );
    let held = Fact::TreeLives { held: true };
    play(&mut life, &[(ms(10), held, &[])]);
    // One look that finds it alive, and the time begins anew.
    play(
        &mut life,
        &[(ms(800), Fact::TreeLives { held: false }, &[])],
    );
    play(&mut life, &[(ms(810), held, &[])]);
    play(&mut life, &[(ms(1000), held, &[])]);
    let finish = |actions: &[Action]| actions.iter().any(is_finish);
    let actions = life.on_fact(killed + KILL_BOUND, Fact::Deadline);
    assert!(!finish(&actions), "{actions:?}");
    let actions = life.on_fact(ms(810) + KILL_BOUND, Fact::Deadline);
    assert!(finish(&actions), "{actions:?}");
}

#[test]
fn what_cannot_be_followed_is_killed_and_lost() {
    let mut life = Life::new(None, KILL_AFTER);
    let lost = Outcome {
        unkillable: true,
        ..Outcome::LOST
    };
    let end = [Action::KillTree, Action::CloseOutput, Action::Finish(lost)];
    play(&mut life, &[(ms(5), Fact::Lost, &end)]);
    assert_eq!(life.deadline(), None);
}

#[test]
fn the_limits_are_those_that_callers_know() {
    assert_eq!(DRAIN_QUIET, ms(100));
    assert_eq!(DRAIN_BOUND, ms(1000));
    assert_eq!(TREE_POLL, ms(5));
    assert_eq!(KILL_BOUND, ms(900));
    assert_eq!(KILL_LIMIT, ms(30_000));
    assert_eq!(MAX_SIGNAL, 64);
}

/// Output is then sent as it comes.
#[test]
fn it_is_ending_from_the_leaders_end_or_the_servers_on() {
    for (fact, is_ending) in [
        (output(1), false),
        (OUTPUT_ENDED, false),
        (Fact::Blocked, false),
        (Fact::Signal(TERM), false),
        (Fact::Signal(0), false),
        (TREE_GONE, false),
        (Fact::TreeLives { held: true }, false),
        (Fact::Deadline, false),
        (Fact::Signal(KILL), true),
        (Fact::End(Cause::Disconnect), true),
        (exited(SUCCESS, 1), true),
        (Fact::Lost, true),
    ] {
        let mut life = life(None);
        assert!(!life.is_ending());
        life.on_fact(ms(1), fact);
        assert_eq!(life.is_ending(), is_ending, "{fact:?}");
    }
}

#[test]
fn a_tree_is_looked_at_again_a_poll_after_its_leaders_end() {
    let mut life = life(None);
    life.on_fact(ms(1), Fact::End(Cause::Shutdown));
    // Before that, nothing but the KILL is waited for.
    life.on_fact(ms(2), Fact::TreeLives { held: false });
    assert_eq!(life.deadline(), Some(ms(1) + KILL_AFTER));
    let early = exited(SUCCESS, 0);
    play(&mut life, &[(ms(10), early, &[Action::LookAtTree])]);
    assert_eq!(life.deadline(), Some(ms(10) + TREE_POLL));
    play(&mut life, &[(ms(14), Fact::Deadline, &[])]);
    let look = [Action::LookAtTree];
    play(&mut life, &[(ms(15), Fact::Deadline, &look)]);
    assert_eq!(life.deadline(), Some(ms(15) + TREE_POLL));
}

/// A second end of the leader, as a host might tell it, is none.
#[test]
fn the_leader_ends_once() {
    let mut life = life(None);
    life.on_fact(ms(1), exited(ExitStatus::Code(1), 1));
    life.on_fact(ms(2), exited(ExitStatus::Code(2), 0));
    let end = [finish(ExitStatus::Code(1), ExitReason::Own)];
    play(&mut life, &[(ms(3), OUTPUT_ENDED, &end)]);
}

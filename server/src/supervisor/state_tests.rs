//! The life of an execution, case by case and in any order.

use std::time::Duration;

use proptest::prelude::*;

use super::state::{
    Action, Cause, DRAIN_BOUND, DRAIN_QUIET, Event, KILL_BOUND, KILL_LIMIT, MAX_SIGNAL, Outcome,
    Reason, State, TREE_POLL,
};
use crate::process::Status;

const KILL_AFTER: Duration = Duration::from_secs(2);
const TERM: i32 = libc::SIGTERM;
const KILL: i32 = libc::SIGKILL;
const CONT: i32 = libc::SIGCONT;
const SUCCESS: Status = Status::Code(0);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn died_of(number: i32) -> Status {
    Status::Signal {
        number,
        core_dumped: false,
    }
}

const fn exited(status: Status, unread: usize) -> Event {
    Event::Exited { status, unread }
}

const fn finish(status: Status, reason: Reason) -> Action {
    Action::Finish(Outcome {
        status: Some(status),
        reason,
        unkillable: false,
    })
}

fn state(timeout: Option<Duration>) -> State {
    State::new(timeout, KILL_AFTER)
}

/// Feeds each event at its time, and compares what it is answered with.
fn play(state: &mut State, script: &[(Duration, Event, &[Action])]) {
    for (step, (now, event, expected)) in script.iter().enumerate() {
        let actions = state.on_event(*now, *event);
        assert_eq!(actions, *expected, "step {step}: {event:?} at {now:?}");
    }
}

/// Delivers deadlines until one brings an action, and returns when that was and what it brought.
fn next_actions(state: &mut State) -> (Duration, Vec<Action>) {
    const DEADLINES: usize = 1000;
    for _ in 0..DEADLINES {
        let now = state.deadline().expect("nothing is waited for");
        let actions = state.on_event(now, Event::Deadline);
        if !actions.is_empty() {
            return (now, actions);
        }
    }
    panic!("deadlines that bring nothing");
}

#[test]
fn a_command_that_ends_by_itself_ends_with_its_output() {
    play(
        &mut state(None),
        &[
            (ms(1), Event::Output { bytes: 9 }, &[]),
            (ms(2), exited(Status::Code(7), 4), &[]),
            (ms(3), Event::Output { bytes: 4 }, &[]),
            (
                ms(4),
                Event::OutputEnded,
                &[finish(Status::Code(7), Reason::Own)],
            ),
            (ms(5), Event::Signal(TERM), &[]),
        ],
    );
    // The output may end first.
    play(
        &mut state(None),
        &[
            (ms(1), Event::OutputEnded, &[]),
            (ms(2), exited(SUCCESS, 0), &[finish(SUCCESS, Reason::Own)]),
        ],
    );
}

#[test]
fn silent_others_that_hold_the_output_are_waited_for_as_long_as_the_quiet_bound() {
    let mut state = state(None);
    play(&mut state, &[(ms(10), exited(SUCCESS, 0), &[])]);
    assert_eq!(state.deadline(), Some(ms(10) + DRAIN_QUIET));
    // Each read starts that time anew.
    play(&mut state, &[(ms(60), Event::Output { bytes: 1 }, &[])]);
    let end = [Action::CloseOutput, finish(SUCCESS, Reason::Own)];
    assert_eq!(
        next_actions(&mut state),
        (ms(60) + DRAIN_QUIET, end.to_vec())
    );
    assert_eq!(state.deadline(), None);
}

#[test]
fn others_that_keep_writing_are_cut_off_at_the_bound() {
    let mut state = state(None);
    let end = ms(10) + DRAIN_BOUND;
    play(&mut state, &[(ms(10), exited(SUCCESS, 0), &[])]);
    let mut now = ms(10);
    while now + ms(50) < end {
        now += ms(50);
        play(&mut state, &[(now, Event::Output { bytes: 1 }, &[])]);
    }
    let (at, actions) = next_actions(&mut state);
    assert_eq!(at, end);
    assert_eq!(actions[0], Action::CloseOutput);
}

#[test]
fn a_reader_that_holds_the_output_up_stops_the_clock() {
    let mut state = state(None);
    play(
        &mut state,
        &[
            (ms(10), exited(SUCCESS, 0), &[]),
            (ms(50), Event::Blocked, &[]),
        ],
    );
    assert_eq!(state.deadline(), None, "the clock runs while nobody reads");
    let hours = Duration::from_hours(5);
    play(
        &mut state,
        &[(hours, Event::Unblocked, &[]), (hours, Event::Blocked, &[])],
    );
    assert_eq!(state.deadline(), None);
    play(&mut state, &[(2 * hours, Event::Unblocked, &[])]);
    assert_eq!(state.deadline(), Some(2 * hours + DRAIN_QUIET));
    // What has run of it before counts: 40 ms are gone.
    let mut now = 2 * hours;
    while now + ms(100) < 2 * hours + DRAIN_BOUND {
        now += ms(50);
        play(&mut state, &[(now, Event::Output { bytes: 1 }, &[])]);
    }
    let left = DRAIN_BOUND.saturating_sub(ms(40));
    assert_eq!(state.deadline(), Some(2 * hours + left));
}

#[test]
fn a_leader_that_ends_while_the_reader_holds_up_starts_no_clock() {
    let mut state = state(None);
    play(
        &mut state,
        &[
            (ms(1), Event::Blocked, &[]),
            (ms(2), exited(SUCCESS, 0), &[]),
        ],
    );
    assert_eq!(state.deadline(), None);
    play(&mut state, &[(ms(9000), Event::Unblocked, &[])]);
    assert_eq!(state.deadline(), Some(ms(9000) + DRAIN_QUIET));
}

#[test]
fn what_was_written_before_the_end_is_owed_whatever_the_clock_says() {
    let mut state = state(None);
    play(
        &mut state,
        &[
            (ms(1), exited(SUCCESS, 10), &[]),
            (ms(5000), Event::Output { bytes: 9 }, &[]),
            (ms(9000), Event::Deadline, &[]),
        ],
    );
    assert_eq!(state.deadline(), None);
    let end = [Action::CloseOutput, finish(SUCCESS, Reason::Own)];
    play(
        &mut state,
        // The last byte comes long after the bound.
        &[(ms(9001), Event::Output { bytes: 1 }, &end)],
    );
}

#[test]
fn a_timeout_is_term_and_then_kill_until_the_tree_is_gone() {
    let mut state = state(Some(ms(100)));
    let reason = Reason::Ended(Cause::Timeout);
    let begin = vec![Action::SignalTree(TERM), Action::SignalTree(CONT)];
    assert_eq!(next_actions(&mut state), (ms(100), begin));
    let kill_at = ms(100) + KILL_AFTER;
    assert_eq!(next_actions(&mut state), (kill_at, vec![Action::KillTree]));
    let again = vec![Action::KillTree, Action::LookAtTree];
    assert_eq!(next_actions(&mut state), (kill_at + TREE_POLL, again));
    let at = kill_at + ms(10);
    play(
        &mut state,
        &[
            // A tree is not gone as long as its leader is not.
            (at, Event::TreeGone, &[]),
            (at, exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (at, Event::OutputEnded, &[]),
            (at, Event::TreeGone, &[finish(died_of(KILL), reason)]),
        ],
    );
}

#[test]
fn a_leader_that_ends_on_term_leaves_the_rest_its_time() {
    let mut state = state(Some(ms(100)));
    next_actions(&mut state);
    play(
        &mut state,
        &[
            (ms(110), exited(Status::Code(3), 0), &[Action::LookAtTree]),
            (ms(110), Event::OutputEnded, &[]),
        ],
    );
    // The tree is looked at, and killed when its time is up.
    assert_eq!(
        next_actions(&mut state),
        (ms(110) + TREE_POLL, vec![Action::LookAtTree])
    );
    let (at, actions) = std::iter::repeat_with(|| next_actions(&mut state))
        .take(1000)
        .find(|(_, actions)| actions.contains(&Action::KillTree))
        .unwrap();
    assert!(at >= ms(100) + KILL_AFTER, "{at:?}: {actions:?}");
    let end = [finish(Status::Code(3), Reason::Ended(Cause::Timeout))];
    play(&mut state, &[(at, Event::TreeGone, &end)]);
}

#[test]
fn a_timeout_after_the_leaders_end_changes_nothing() {
    let mut state = state(Some(ms(100)));
    play(
        &mut state,
        &[
            (ms(90), exited(SUCCESS, 5), &[]),
            (ms(100), Event::Deadline, &[]),
            (ms(120), Event::Output { bytes: 5 }, &[]),
        ],
    );
    let (_, actions) = next_actions(&mut state);
    assert_eq!(actions[1], finish(SUCCESS, Reason::Own));
}

#[test]
fn a_callers_kill_is_at_once_and_on_the_whole_tree() {
    let mut state = state(Some(ms(100)));
    play(
        &mut state,
        &[
            (ms(5), Event::Signal(KILL), &[Action::KillTree]),
            // Only once: the tree is killed until it is gone anyway.
            (ms(6), Event::Signal(KILL), &[]),
            (ms(7), Event::End(Cause::Disconnect), &[]),
            (ms(8), exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (ms(8), Event::TreeGone, &[]),
            (
                ms(9),
                Event::OutputEnded,
                &[finish(died_of(KILL), Reason::Signal)],
            ),
        ],
    );
}

#[test]
fn a_callers_kill_ends_the_patience_of_a_timeout() {
    let mut state = state(Some(ms(100)));
    next_actions(&mut state);
    play(
        &mut state,
        &[(ms(150), Event::Signal(KILL), &[Action::KillTree])],
    );
    assert_eq!(state.deadline(), Some(ms(150) + TREE_POLL));
    play(
        &mut state,
        &[
            (ms(151), exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (ms(151), Event::OutputEnded, &[]),
            // remexd had begun to end it, so that is why.
            (
                ms(151),
                Event::TreeGone,
                &[finish(died_of(KILL), Reason::Ended(Cause::Timeout))],
            ),
        ],
    );
}

#[test]
fn a_look_that_takes_long_does_not_bring_the_next_one_nearer() {
    let mut state = state(None);
    state.on_event(ms(1), Event::Signal(KILL));
    let (now, actions) = next_actions(&mut state);
    assert!(actions.contains(&Action::LookAtTree));
    state.on_event(now + ms(300), Event::TreeLives { held: false });
    assert_eq!(state.deadline(), Some(now + ms(300) + TREE_POLL));
}

#[test]
fn what_goes_first_decides_why() {
    for (first, second, reason) in [
        (Cause::Disconnect, Cause::Shutdown, Cause::Disconnect),
        (Cause::Shutdown, Cause::Disconnect, Cause::Shutdown),
    ] {
        let mut state = state(Some(ms(100)));
        let begin = [Action::SignalTree(TERM), Action::SignalTree(CONT)];
        play(
            &mut state,
            &[
                (ms(1), Event::End(first), &begin),
                (ms(2), Event::End(second), &[]),
                (ms(3), Event::OutputEnded, &[]),
                // Whatever code it exits with.
                (ms(4), exited(SUCCESS, 0), &[Action::LookAtTree]),
                (
                    ms(4),
                    Event::TreeGone,
                    &[finish(SUCCESS, Reason::Ended(reason))],
                ),
            ],
        );
    }
}

#[test]
fn a_caller_who_leaves_during_the_drain_ends_it_and_kills_nothing() {
    let end = [Action::CloseOutput, finish(SUCCESS, Reason::Own)];
    play(
        &mut state(None),
        &[
            (ms(1), exited(SUCCESS, 100), &[]),
            (ms(2), Event::End(Cause::Disconnect), &end),
        ],
    );
    // Also if the reader held it up.
    play(
        &mut state(None),
        &[
            (ms(1), Event::Blocked, &[]),
            (ms(2), exited(SUCCESS, 100), &[]),
            (ms(3), Event::Unblocked, &[]),
            (ms(3), Event::End(Cause::Disconnect), &end),
        ],
    );
}

/// Whatever ends one that is drained to its end ends its tree, and the leader's code stays.
#[test]
fn an_end_during_a_drain_to_the_end_ends_the_tree() {
    for cause in [Cause::Timeout, Cause::Disconnect, Cause::Shutdown] {
        let mut state = state((cause == Cause::Timeout).then(|| ms(5000))).until_end(true);
        let (at, end) = match cause {
            Cause::Timeout => (ms(5000), Event::Deadline),
            _ => (ms(5000), Event::End(cause)),
        };
        play(
            &mut state,
            &[
                (ms(10), exited(SUCCESS, 0), &[]),
                // No silence is long enough.
                (ms(4000), Event::Deadline, &[]),
                (
                    at,
                    end,
                    &[Action::SignalTree(TERM), Action::SignalTree(CONT)],
                ),
                (at, Event::Deadline, &[Action::LookAtTree]),
                (at, Event::TreeLives { held: false }, &[]),
                (at + KILL_AFTER, Event::Deadline, &[Action::KillTree]),
                // What it wrote last is still read.
                (at + KILL_AFTER + ms(1), Event::TreeGone, &[]),
                (
                    at + KILL_AFTER + ms(2),
                    Event::OutputEnded,
                    &[finish(SUCCESS, Reason::Ended(cause))],
                ),
            ],
        );
    }
}

/// One that left the tree holds the output up no longer than any other drain.
#[test]
fn what_escaped_the_end_of_a_drain_to_the_end_is_not_waited_for() {
    let mut state = state(None).until_end(true);
    let cause = Cause::Disconnect;
    play(
        &mut state,
        &[
            (ms(10), exited(SUCCESS, 0), &[]),
            (
                ms(3000),
                Event::End(cause),
                &[Action::SignalTree(TERM), Action::SignalTree(CONT)],
            ),
            (ms(3001), Event::TreeGone, &[]),
            (
                ms(3001) + DRAIN_QUIET,
                Event::Deadline,
                &[Action::CloseOutput, finish(SUCCESS, Reason::Ended(cause))],
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
    let mut state = state(None);
    play(
        &mut state,
        &[(ms(10), Event::Signal(KILL), &[Action::KillTree])],
    );
    let give_up_at = ms(10) + bound;
    let (at, actions) = std::iter::repeat_with(|| {
        let (at, actions) = next_actions(&mut state);
        if actions.contains(&Action::LookAtTree) {
            state.on_event(at, Event::TreeLives { held });
        }
        (at, actions)
    })
    .take(10_000)
    .find(|(_, actions)| !actions.contains(&Action::KillTree))
    .unwrap();
    assert!(at >= give_up_at && at <= give_up_at + TREE_POLL, "{at:?}");
    let outcome = Outcome {
        status: None,
        reason: Reason::Lost,
        unkillable: true,
    };
    assert_eq!(actions, [Action::CloseOutput, Action::Finish(outcome)]);
}

#[test]
fn a_leader_that_is_gone_with_an_unkillable_rest_has_its_status() {
    let mut state = state(Some(ms(10)));
    next_actions(&mut state);
    play(
        &mut state,
        &[
            (ms(11), exited(died_of(TERM), 0), &[Action::LookAtTree]),
            (ms(11), Event::OutputEnded, &[]),
        ],
    );
    let last = std::iter::repeat_with(|| next_actions(&mut state).1)
        .take(10_000)
        .find_map(|actions| actions.last().copied().filter(is_finish));
    let outcome = Outcome {
        status: Some(died_of(TERM)),
        reason: Reason::Ended(Cause::Timeout),
        unkillable: true,
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
            &mut state(None),
            &[(ms(1), Event::Signal(number), &[expected])],
        );
    }
    for number in [i32::MIN, -1, 0, MAX_SIGNAL + 1, i32::MAX] {
        play(&mut state(None), &[(ms(1), Event::Signal(number), &[])]);
    }
}

#[test]
fn a_signal_is_the_reason_only_if_it_was_sent_before_the_end() {
    for (sent, status, reason) in [
        (15, died_of(15), Reason::Signal),
        (MAX_SIGNAL, died_of(MAX_SIGNAL), Reason::Signal),
        (2, died_of(15), Reason::Own),
        (15, Status::Code(143), Reason::Own),
    ] {
        let mut state = state(None);
        state.on_event(ms(1), Event::Signal(sent));
        state.on_event(ms(2), exited(status, 0));
        let actions = state.on_event(ms(3), Event::OutputEnded);
        assert_eq!(actions, [finish(status, reason)], "{sent}");
    }
    // One that comes in the drain still goes to what lives of the group, but ended nothing.
    play(
        &mut state(None),
        &[
            (ms(1), exited(died_of(15), 0), &[]),
            (ms(2), Event::Signal(15), &[Action::SignalGroup(15)]),
            (
                ms(3),
                Event::OutputEnded,
                &[finish(died_of(15), Reason::Own)],
            ),
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

fn any_event() -> impl Strategy<Value = Event> {
    let status = prop_oneof![
        any::<u8>().prop_map(Status::Code),
        (1..=MAX_SIGNAL).prop_map(died_of),
    ];
    let cause = prop_oneof![
        Just(Cause::Timeout),
        Just(Cause::Disconnect),
        Just(Cause::Shutdown)
    ];
    prop_oneof![
        4 => (1..70_000usize).prop_map(|bytes| Event::Output { bytes }),
        1 => Just(Event::OutputEnded),
        2 => Just(Event::Blocked),
        2 => Just(Event::Unblocked),
        1 => (status, 0..100_000usize).prop_map(|(status, unread)| exited(status, unread)),
        2 => (0..=MAX_SIGNAL + 1).prop_map(Event::Signal),
        1 => cause.prop_map(Event::End),
        2 => Just(Event::TreeGone),
        2 => any::<bool>().prop_map(|held| Event::TreeLives { held }),
        4 => Just(Event::Deadline),
    ]
}

/// A state with everything that it ever said.
struct Life {
    state: State,
    now: Duration,
    actions: Vec<Action>,
    exit: Option<Status>,
    cause: Option<Cause>,
    sent_before_exit: Vec<i32>,
    killed: bool,
    blocked: bool,
    owed: usize,
}

impl Life {
    fn new(timeout: Option<Duration>) -> Self {
        Self {
            state: State::new(timeout, KILL_AFTER),
            now: Duration::ZERO,
            actions: Vec::new(),
            exit: None,
            cause: None,
            sent_before_exit: Vec::new(),
            killed: false,
            blocked: false,
            owed: 0,
        }
    }

    fn is_finished(&self) -> bool {
        self.actions.iter().any(is_finish)
    }

    /// Delivers what is due until `until`, then `event`.
    fn advance(&mut self, until: Duration) {
        const STEPS: usize = 100_000;
        for _ in 0..STEPS {
            match self.state.deadline() {
                Some(due) if due <= until => {
                    self.now = self.now.max(due);
                    self.tell(Event::Deadline);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("the clock stands still at {:?}", self.now);
    }

    fn tell(&mut self, event: Event) {
        if !self.is_finished() {
            self.note(event);
        }
        let actions = self.state.on_event(self.now, event);
        let ends = actions.contains(&Action::SignalTree(TERM));
        if ends && event == Event::Deadline {
            self.cause = Some(Cause::Timeout);
        }
        self.killed |= actions.contains(&Action::KillTree);
        self.actions.extend(actions);
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Exited { status, unread } if self.exit.is_none() => {
                self.exit = Some(status);
                self.owed = unread;
            }
            Event::Signal(number) if self.exit.is_none() => self.sent_before_exit.push(number),
            Event::End(cause) if self.exit.is_none() && !self.killed => {
                self.cause.get_or_insert(cause);
            }
            Event::Blocked => self.blocked = true,
            Event::Unblocked => self.blocked = false,
            Event::Output { bytes } => self.owed = self.owed.saturating_sub(bytes),
            _ => {}
        }
    }

    /// What always happens in the end: the leader ends, the reader reads, the tree goes.
    fn end(&mut self) {
        if self.exit.is_none() {
            self.tell(exited(died_of(KILL), 0));
        }
        if self.blocked {
            self.tell(Event::Unblocked);
        }
        if self.owed > 0 {
            self.tell(Event::Output { bytes: self.owed });
        }
        self.tell(Event::TreeGone);
    }

    fn reason(&self) -> Reason {
        match (self.cause, self.exit) {
            (Some(cause), _) => Reason::Ended(cause),
            (None, Some(Status::Signal { number, .. }))
                if self.sent_before_exit.contains(&number) =>
            {
                Reason::Signal
            }
            (None, Some(_)) => Reason::Own,
            (None, None) => Reason::Lost,
        }
    }
}

proptest! {
    #[test]
    fn any_order_of_events_ends_once_last_and_in_bounded_time(
        timeout in proptest::option::of(1..4000u64),
        events in proptest::collection::vec((0..400u64, any_event()), 0..60),
    ) {
        let mut life = Life::new(timeout.map(Duration::from_millis));
        for (pause, event) in events {
            life.advance(life.now + ms(pause));
            life.tell(event);
        }
        life.end();
        let bound = life.now + DRAIN_BOUND + KILL_LIMIT + KILL_AFTER;
        life.advance(bound);

        let finishes = life.actions.iter().filter(|action| is_finish(action)).count();
        prop_assert_eq!(finishes, 1, "{:?}", life.actions);
        // Last, so after it nothing is signalled: the leader's pid may be another's.
        prop_assert!(life.actions.last().is_some_and(is_finish), "{:?}", life.actions);
        prop_assert_eq!(life.state.deadline(), None);
        for number in 0..=MAX_SIGNAL {
            life.tell(Event::Signal(number));
        }
        prop_assert!(life.actions.last().is_some_and(is_finish));
        prop_assert!(!life.actions.iter().skip_while(|action| !is_finish(action)).any(is_signal));
    }

    #[test]
    fn the_reason_follows_from_what_came_before_the_end(
        timeout in proptest::option::of(1..4000u64),
        events in proptest::collection::vec((0..400u64, any_event()), 0..60),
    ) {
        let mut life = Life::new(timeout.map(Duration::from_millis));
        let mut finished = None;
        for (pause, event) in events {
            life.advance(life.now + ms(pause));
            life.tell(event);
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
        owed in 1..1_000_000usize,
        events in proptest::collection::vec((0..5000u64, any_event()), 0..40),
    ) {
        let mut life = Life::new(None);
        life.tell(exited(SUCCESS, owed));
        for (pause, event) in events {
            match event {
                // A caller's kill, too, leaves what was written to be read.
                Event::End(_) | Event::OutputEnded => continue,
                _ => {}
            }
            life.advance(life.now + ms(pause));
            life.tell(event);
            if life.owed > 0 {
                prop_assert!(!life.is_finished(), "{} bytes are lost", life.owed);
            }
        }
    }
}

#[test]
fn what_cannot_be_followed_is_killed_and_lost() {
    let mut state = State::new(None, KILL_AFTER);
    let lost = Outcome {
        status: None,
        reason: Reason::Lost,
        unkillable: true,
    };
    let end = [Action::KillTree, Action::CloseOutput, Action::Finish(lost)];
    play(&mut state, &[(ms(5), Event::Lost, &end)]);
    assert_eq!(state.deadline(), None);
}

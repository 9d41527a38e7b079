//! Any facts in any order, against a model that only counts.

use proptest::prelude::*;

use super::*;

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
    finished: bool,
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
            finished: false,
            exit: None,
            cause: None,
            sent_before_exit: Vec::new(),
            killed: false,
            blocked: false,
            owed: [0; STREAMS],
            ended: [false; STREAMS],
        }
    }

    /// Delivers what is due until `until`, then `fact`.
    fn advance(&mut self, until: Duration) {
        // More than there are looks at a tree, a TREE_POLL apart, before it is given up.
        const STEPS: usize = 20_000;
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
        if !self.finished {
            self.note(fact);
        }
        let actions = self.life.on_fact(self.now, fact);
        let ends = actions.contains(&Action::SignalTree(TERM));
        if ends && fact == Fact::Deadline {
            self.cause = Some(Cause::Timeout);
        }
        self.killed |= actions.contains(&Action::KillTree);
        self.finished |= actions.iter().any(is_finish);
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
                prop_assert!(!life.finished, "{:?} bytes are lost", life.owed);
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

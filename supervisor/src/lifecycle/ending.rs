//! The end of a tree that is not left to itself: TERM, after a while KILL, until it is gone or given up. Pure.

use std::time::Duration;

use super::{action::Action, outcome::Cause};

/// How often a tree that is being ended is looked at.
pub const TREE_POLL: Duration = Duration::from_millis(5);

/// A tree that the kernel holds (D state) is waited for this long after its KILL; then it is reported, not awaited.
pub const KILL_BOUND: Duration = Duration::from_millis(900);

/// One that it does not hold is killed again and again for this long: on a busy machine a sweep may take its time.
pub const KILL_LIMIT: Duration = Duration::from_secs(30);

/// The tree is being ended; from here it has to be gone before anything is reported.
#[derive(Debug)]
pub(super) struct Ending {
    /// `None`: a caller's KILL.
    cause: Option<Cause>,
    stage: Stage,
    next_look: Duration,
    /// Since when every look has found nothing that a signal reaches.
    held_since: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Terminating { kill_at: Duration },
    Killing { since: Duration },
    Gone { unkillable: bool },
}

impl Ending {
    /// One that begins with TERM.
    pub(super) fn by_term(cause: Cause, now: Duration, kill_after: Duration) -> Self {
        Self {
            cause: Some(cause),
            stage: Stage::Terminating {
                kill_at: now + kill_after,
            },
            next_look: now,
            held_since: None,
        }
    }

    /// One that begins with a caller's KILL.
    pub(super) fn by_kill(now: Duration) -> Self {
        Self {
            cause: None,
            stage: Stage::Killing { since: now },
            next_look: now + TREE_POLL,
            held_since: None,
        }
    }

    /// Why the server ends it, if it does.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    /// Ends the patience of a TERM. `false`: there is none any more.
    pub(super) fn kill(&mut self, now: Duration) -> bool {
        let is_patient = matches!(self.stage, Stage::Terminating { .. });
        if is_patient {
            self.stage = Stage::Killing { since: now };
            self.look_later(now);
        }
        is_patient
    }

    /// Nothing in the tree lives any more.
    pub(super) fn gone(&mut self) {
        self.stage = Stage::Gone { unkillable: false };
    }

    /// Something in it does, and is not waited for.
    pub(super) fn give_up(&mut self) {
        self.stage = Stage::Gone { unkillable: true };
    }

    /// A look has found it alive. The next one counts from the end of this one, which may have taken long.
    pub(super) fn lives(&mut self, now: Duration, held: bool) {
        self.held_since = held.then(|| self.held_since.unwrap_or(now));
        self.look_later(now);
    }

    /// The next look is a poll away.
    pub(super) fn look_later(&mut self, now: Duration) {
        self.next_look = now + TREE_POLL;
    }

    /// When there is something to do.
    pub(super) fn deadline(&self, has_leader_exited: bool) -> Option<Duration> {
        match self.stage {
            // A tree can only be gone when its leader is.
            Stage::Terminating { kill_at } if !has_leader_exited => Some(kill_at),
            Stage::Terminating { .. } | Stage::Killing { .. } => Some(self.next_look),
            Stage::Gone { .. } => None,
        }
    }

    /// What is to be done at `now`.
    pub(super) fn deadline_passed(
        &mut self,
        now: Duration,
        has_leader_exited: bool,
    ) -> &'static [Action] {
        let is_look_due = self.next_look <= now;
        match self.stage {
            Stage::Terminating { kill_at } if kill_at <= now => {
                self.kill(now);
                &[Action::KillTree]
            }
            Stage::Terminating { .. } if has_leader_exited && is_look_due => {
                self.look_later(now);
                &[Action::LookAtTree]
            }
            Stage::Killing { since } if self.is_hopeless(since, now) => {
                self.give_up();
                &[]
            }
            Stage::Killing { .. } if is_look_due => {
                self.look_later(now);
                &[Action::KillTree, Action::LookAtTree]
            }
            _ => &[],
        }
    }

    /// Whether nothing in the tree is waited for any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Gone { .. })
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.stage == Stage::Gone { unkillable: true }
    }

    /// Whether the tree, killed since then, is not to be waited for.
    fn is_hopeless(&self, since: Duration, now: Duration) -> bool {
        let is_held = self.held_since.is_some_and(|held| held + KILL_BOUND <= now);
        is_held || since + KILL_LIMIT <= now
    }
}

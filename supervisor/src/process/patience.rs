//! How long something that the kernel may hold is waited for, and how often it is looked at meanwhile.

use std::time::{Duration, Instant};

/// How long a spawn may take before it is killed and given up.
pub const SPAWN_BOUND: Duration = Duration::from_secs(10);

/// How long the thread that starts a command stands still for it. More than most take.
pub(super) const STANDSTILL: Duration = Duration::from_millis(2);

/// How often a spawn that takes longer than a moment is looked at: first, and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// When to look again at what takes longer, and when to give it up.
#[derive(Debug)]
pub(crate) struct Patience {
    give_up: Instant,
    pause: Duration,
}

impl Patience {
    /// For what begins at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            give_up: now + SPAWN_BOUND,
            pause: FIRST_PAUSE,
        }
    }

    /// When it is given up.
    pub(super) fn give_up(&self) -> Instant {
        self.give_up
    }

    /// When to look again; `None`: it has taken too long.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.give_up {
            return None;
        }
        let next = now + self.pause;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        Some(next.min(self.give_up))
    }
}

//! How often the policy has decided what, for metrics.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use remex_daemon::metrics::{MetricSource, Samples};

/// What a decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// That a call may be made.
    Call,
    /// That a command may be started: once, however often it was judged on its way.
    Command,
    /// That somebody may see, reach or end what others run.
    Others,
}

/// The labels, in the order of [`About`].
const ABOUT: [&str; 3] = ["call", "command", "others"];

/// The labels: that it may be, and that it may not.
const DECISIONS: [&str; 2] = ["allow", "deny"];

/// The counts. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct PolicyCounts(Arc<[[AtomicU64; DECISIONS.len()]; ABOUT.len()]>);

impl PolicyCounts {
    pub(super) fn count(&self, about: About, is_allowed: bool) {
        let count = &self.0[about as usize][usize::from(!is_allowed)];
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl MetricSource for PolicyCounts {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let counts = ABOUT.iter().zip(self.0.iter()).flat_map(|(about, counts)| {
            let pairs = DECISIONS.iter().zip(counts);
            pairs.map(|(decision, count)| ([*about, *decision], count.load(Ordering::Relaxed)))
        });
        samples.counters(
            "remex_policy_decisions",
            "What the policy has decided, if there is one.",
            ["about", "decision"],
            counts,
        )
    }
}

//! What all executions share, and how one is let in.

use std::{collections::BTreeMap, sync::Arc};

use remex_supervisor::process::allocation;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Execution, Measures, NewExecution, StartRefused,
    places::{Place, Places},
    registry::Registry,
};
use crate::{
    attached::waiting_stdin::StdinMemory,
    audit::AuditLog,
    budget::{Budget, Share},
};

/// What the records of all executions, and the stdin that running ones were given at their start, may take in memory.
pub const RECORD_BYTES: usize = 512 * 1024 * 1024;

/// What executions share. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    pub(crate) registry: Registry,
    pub(crate) measures: Arc<Measures>,
    pub(crate) memory: Budget,
    pub(crate) stdin: StdinMemory,
    pub(super) places: Places,
    /// What a drain waits for: starts that are under way, and the hosts of those that end in it.
    pub(crate) tasks: TaskTracker,
    /// Everything that ends in a drain is to end, starts that are under way too.
    pub(crate) ending: CancellationToken,
    /// Where their ends are told.
    pub(crate) audit: AuditLog,
}

/// What a new execution may take.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) place: Place,
    /// Of its record.
    pub(crate) memory: Share,
    /// Of its first stdin.
    pub(crate) stdin: Share,
}

impl Resources {
    /// For at most `max` executions at once, whose ends are told in `audit`.
    pub(super) fn new(max: usize, audit: AuditLog) -> Self {
        let registry = Registry::default();
        Self {
            measures: registry.measures(),
            registry,
            memory: Budget::new(RECORD_BYTES),
            stdin: StdinMemory::default(),
            places: Places::new(max),
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
            audit,
        }
    }

    /// Takes what `new` needs, if that is there.
    pub(crate) fn admit(&self, new: &NewExecution) -> Result<Admitted, StartRefused> {
        let full = || StartRefused::TooMany(self.places.most());
        let place = self.place().ok_or_else(full)?;
        let (mut memory, mut stdin) = (self.memory.share(), self.memory.share());
        let bytes = size_of::<Execution>() + new.spec.cost() + labels_cost(&new.labels);
        let fits = memory.grow(bytes) == bytes && stdin.grow(new.stdin.len()) == new.stdin.len();
        fits.then_some(Admitted {
            place,
            memory,
            stdin,
        })
        .ok_or(StartRefused::Memory)
    }

    /// A place among those that run, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        self.places.take()
    }
}

/// What labels take in memory.
pub(crate) fn labels_cost(labels: &BTreeMap<String, String>) -> usize {
    let strings = labels.iter().flat_map(|(key, value)| [key, value]);
    strings
        .map(|string| size_of::<String>() + allocation(string.len()))
        .sum()
}

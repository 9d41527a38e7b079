//! What a gateway has to tell of its listeners, for metrics.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use remex_daemon::{
    admission::Refusals,
    metrics::{MetricSource, Samples},
};

use crate::bound::Bound;

/// Of one listener.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    requests: AtomicU64,
    /// What it has refused.
    pub refusals: Refusals,
}

impl ListenerCounts {
    /// Another request came that is one, whatever becomes of it.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// How many came.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Of all listeners, each known by where it listens and by what it serves there, `tcp-exec`. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct GatewayCounts(Arc<RwLock<Vec<Counted>>>);

/// Where, what, and how much of it.
type Counted = (String, &'static str, Arc<ListenerCounts>);

impl GatewayCounts {
    /// These are all listeners from now on.
    pub(crate) fn set(&self, bound: &[Bound]) {
        let counted = bound.iter().map(|bound| {
            let (at, name) = (bound.local().to_string(), bound.listener().name());
            (at, name, Arc::clone(bound.counts()))
        });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = counted.collect();
    }
}

impl MetricSource for GatewayCounts {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if all.is_empty() {
            return Ok(());
        }
        let listeners = || all.iter();
        samples.counters(
            "remex_legacy_requests",
            "Requests of the old protocol, whatever became of them.",
            ["listener", "service"],
            listeners().map(|(at, service, counts)| ([at.as_str(), *service], counts.requests())),
        )?;
        samples.counters(
            "remex_legacy_refusals",
            "Connections, datagrams and commands of the old protocol that were refused.",
            ["listener", "service", "cause"],
            listeners().flat_map(|(at, service, counts)| {
                let totals = counts.refusals.totals();
                totals.map(|(cause, total)| ([at.as_str(), *service, cause], total))
            }),
        )
    }
}

//! The errors that calls end with, counted by reason, for metrics.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::HeaderMap;
use remex::error::{REASON_METADATA, Reason};
use remex_daemon::{
    admission::Refusals,
    metrics::{MetricSource, Samples},
};

/// How many calls ended with each reason. Clones share the counts.
#[derive(Debug, Clone)]
pub struct ReasonCounts(Arc<[AtomicU64]>);

impl Default for ReasonCounts {
    fn default() -> Self {
        Self(Reason::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl ReasonCounts {
    /// Counts the reason in `headers`, which are a response's headers or its trailers, if there is one.
    pub fn count(&self, headers: &HeaderMap) {
        let Some(reason) = headers.get(REASON_METADATA) else {
            return;
        };
        let mut reasons = Reason::ALL.iter();
        if let Some(index) = reasons.position(|one| one.as_str().as_bytes() == reason.as_bytes()) {
            self.0[index].fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl MetricSource for ReasonCounts {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let reasons = Reason::ALL.iter().zip(self.0.iter());
        samples.counters(
            "remex_refusals",
            "Calls that ended with an error, by its reason.",
            ["reason"],
            reasons.map(|(reason, count)| ([reason.as_str()], count.load(Ordering::Relaxed))),
        )
    }
}

/// Connections that were refused, by why.
#[derive(Debug)]
pub struct RefusedConnections(pub Arc<Refusals>);

impl MetricSource for RefusedConnections {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        samples.counters(
            "remex_connection_refusals",
            "Connections of gRPC that were refused, and calls without a credential that is known.",
            ["cause"],
            self.0.totals().map(|(cause, total)| ([cause], total)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_for_itself_and_what_is_none_not_at_all() {
        let counts = ReasonCounts::default();
        for reason in Reason::ALL {
            let status: http::Response<tonic::body::Body> = reason.status("why").into_http();
            counts.count(status.headers());
        }
        let mut headers = HeaderMap::new();
        counts.count(&headers);
        headers.insert(REASON_METADATA, "MADE_UP".parse().unwrap());
        counts.count(&headers);
        assert!(counts.0.iter().all(|one| one.load(Ordering::Relaxed) == 1));
    }
}

//! The calls of one connection: whether any is open, and since when none is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

/// A connection without a call for this long is asked to go. A call may be silent for ever.
pub const MAX_IDLE: Duration = Duration::from_mins(10);

/// A connection that was asked to go and has no call is closed after this long.
pub const GOING: Duration = Duration::from_secs(10);

/// Counts the calls of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    since: Instant,
    open: AtomicUsize,
    /// When the last one ended, in milliseconds since `since`.
    ended: AtomicU64,
}

/// An open call, until this is dropped.
#[derive(Debug)]
pub(super) struct Call(Arc<Calls>);

impl Calls {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            since: Instant::now(),
            open: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
        })
    }

    pub(super) fn begin(self: &Arc<Self>) -> Call {
        self.open.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(self))
    }

    /// Returns once no call was open for `bound`.
    pub(super) async fn idle(&self, bound: Duration) {
        let mut wait = bound;
        loop {
            sleep(wait).await;
            let open = self.open.load(Ordering::Acquire);
            let ended = Duration::from_millis(self.ended.load(Ordering::Relaxed));
            let idle = self.since.elapsed().saturating_sub(ended);
            wait = match bound.checked_sub(idle) {
                _ if open > 0 => bound,
                None | Some(Duration::ZERO) => return,
                Some(left) => left,
            };
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.ended.fetch_max(now, Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_when_no_call_was_open_for_long() {
        let calls = Calls::new();
        let bound = Duration::from_secs(10);
        let started = Instant::now();
        let watching = tokio::spawn({
            let calls = Arc::clone(&calls);
            async move { calls.idle(bound).await }
        });
        tokio::task::yield_now().await;
        let call = calls.begin();
        advance(Duration::from_secs(100)).await;
        tokio::task::yield_now().await;
        assert!(!watching.is_finished());
        drop(call);
        watching.await.unwrap();
        let idle = started.elapsed();
        let expected = Duration::from_secs(110)..=Duration::from_mins(2);
        assert!(expected.contains(&idle), "{idle:?}");
    }
}

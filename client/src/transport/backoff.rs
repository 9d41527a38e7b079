//! When a connection that failed may be tried again. Pure: the time is passed in.

use std::time::{Duration, Instant};

/// The pause after the first failure; it doubles with each further one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause, so that a server that is back is found soon.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Whether it is too early to try.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Notes a failure at `now`.
    pub(super) fn failed(&mut self, now: Instant) {
        self.until = Some(now + pause(self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    /// Notes a success.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

/// The pause after `failures` earlier failures.
pub(crate) fn pause(failures: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<_> = (0..4).map(|n| pause(n).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn a_success_forgets_the_failures() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(!backoff.holds(now));
        backoff.failed(now);
        backoff.failed(now);
        assert!(backoff.holds(now + FIRST_PAUSE));
        assert!(!backoff.holds(now + 2 * FIRST_PAUSE));
        backoff.succeeded();
        assert!(!backoff.holds(now));
        backoff.failed(now);
        assert!(!backoff.holds(now + FIRST_PAUSE));
    }
}

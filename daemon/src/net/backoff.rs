//! How long to wait before what failed is tried again, as accept for want of descriptors. Pure.

use std::time::Duration;

/// The pause after the first failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
/// The longest pause; each is twice the one before, up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A run of failures, or none.
#[derive(Debug, Default)]
pub struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// Whether a run of failures goes on.
    pub fn is_failing(&self) -> bool {
        self.last.is_some()
    }

    /// One more failure: how long to wait.
    pub fn fail(&mut self) -> Duration {
        let next = match self.last {
            None => BACKOFF_FIRST,
            Some(last) => BACKOFF_MAX.min(last * 2),
        };
        self.last = Some(next);
        next
    }

    /// A success ends the run.
    pub fn succeed(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_anew() {
        let mut backoff = Backoff::default();
        assert!(!backoff.is_failing());
        let pauses: Vec<_> = (0..9).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert!(backoff.is_failing());
        backoff.succeed();
        assert!(!backoff.is_failing());
        assert_eq!(backoff.fail(), BACKOFF_FIRST);
    }
}

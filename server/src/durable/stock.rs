//! How many supervisors wait for an execution: a few, and more while executions come close upon each other. Pure.
//!
//! Making one takes about as long as a start, so it is put off while starts come in, as long as enough are left for them.

use std::time::{Duration, Instant};

/// So many wait at least.
pub(super) const LEAST: usize = 4;

/// And at most. Each takes some 20 KiB of memory that is its own, and two descriptors.
pub(super) const MOST: usize = 32;

/// So long after a start, the next one is not waited for any more.
const LULL: Duration = Duration::from_millis(5);

/// After so long without a start, only the least have to wait.
const CALM: Duration = Duration::from_secs(10);

/// How many are to wait.
#[derive(Debug)]
pub(super) struct Stock {
    least: usize,
    most: usize,
    wanted: usize,
    /// When the last one was taken.
    taken: Option<Instant>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    /// One more is to be made.
    Make,
    /// One is to be taken away.
    Discard,
    /// Nothing, until then.
    WaitUntil(Instant),
    /// Nothing, until one is taken.
    Wait,
}

impl Stock {
    /// From `least` to `most` are to wait.
    pub(super) fn new(least: usize, most: usize) -> Self {
        Self {
            least,
            most: most.max(least),
            wanted: least,
            taken: None,
        }
    }

    /// One was taken, of which `left` are left; or there was none. Says whether that may change the next step.
    #[must_use]
    pub(super) fn taken(&mut self, left: usize, now: Instant) -> bool {
        let before = self.taken.replace(now);
        if left <= self.wanted / 2 {
            self.wanted = (self.wanted * 2).min(self.most);
        }
        let is_first = before.is_none_or(|before| now.duration_since(before) >= LULL);
        is_first || self.is_low(left)
    }

    /// Whether so few are `waiting` that the next one is made at once.
    fn is_low(&self, waiting: usize) -> bool {
        waiting < self.wanted && waiting <= self.wanted / 4
    }

    /// What is to be done where so many are `waiting`.
    pub(super) fn step(&mut self, waiting: usize, now: Instant) -> Step {
        let since = self.taken.map(|taken| now.duration_since(taken));
        if since.is_none_or(|since| since >= CALM) {
            self.taken = None;
            self.wanted = self.least;
        }
        if waiting < self.wanted {
            let is_lull = since.is_none_or(|since| since >= LULL);
            return match self.taken {
                Some(taken) if !is_lull && !self.is_low(waiting) => Step::WaitUntil(taken + LULL),
                _ => Step::Make,
            };
        }
        if waiting > self.wanted {
            return Step::Discard;
        }
        match self.taken {
            Some(taken) if self.wanted > self.least => Step::WaitUntil(taken + CALM),
            _ => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stock of the usual limits, and an instant.
    fn begin() -> (Stock, Instant) {
        (Stock::new(LEAST, MOST), Instant::now())
    }

    #[test]
    fn the_least_are_made_at_once() {
        let (mut stock, now) = begin();
        for waiting in 0..LEAST {
            assert_eq!(stock.step(waiting, now), Step::Make);
        }
        assert_eq!(stock.step(LEAST, now), Step::Wait);
    }

    #[test]
    fn more_wait_where_starts_come_close_upon_each_other_up_to_the_most() {
        let (mut stock, now) = begin();
        assert!(stock.taken(LEAST - 1, now));
        assert_eq!(stock.wanted, LEAST);
        assert!(!stock.taken(LEAST / 2, now));
        assert_eq!(stock.wanted, 2 * LEAST);
        for _ in 0..10 {
            assert!(stock.taken(0, now));
        }
        assert_eq!(stock.wanted, MOST);
        assert_eq!(stock.step(MOST - 1, now + LULL), Step::Make);
        assert_eq!(stock.step(MOST, now + LULL), Step::WaitUntil(now + CALM));
    }

    #[test]
    fn none_is_made_while_starts_come_in_as_long_as_enough_are_left() {
        let (mut stock, now) = begin();
        for _ in 0..10 {
            assert!(stock.taken(0, now));
        }
        assert!(!stock.taken(MOST / 4 + 1, now));
        assert!(stock.taken(MOST / 4, now));
        let lull = now + LULL;
        assert_eq!(stock.step(MOST / 4 + 1, now), Step::WaitUntil(lull));
        assert_eq!(stock.step(MOST / 4, now), Step::Make);
        assert_eq!(stock.step(MOST / 4 + 1, lull), Step::Make);
    }

    #[test]
    fn after_a_while_without_a_start_the_least_are_enough() {
        let (mut stock, now) = begin();
        assert!(stock.taken(0, now));
        let calm = now + CALM;
        let before = calm.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(stock.step(2 * LEAST, before), Step::WaitUntil(calm));
        assert_eq!(stock.step(2 * LEAST, calm), Step::Discard);
        assert_eq!(stock.step(LEAST + 1, calm), Step::Discard);
        assert_eq!(stock.step(LEAST, calm), Step::Wait);
    }

    #[test]
    fn where_few_may_wait_no_more_do() {
        let mut stock = Stock::new(1, 0);
        let now = Instant::now();
        assert!(stock.taken(0, now));
        assert_eq!(stock.step(0, now), Step::Make);
        assert_eq!(stock.step(1, now), Step::Wait);
        let mut none = Stock::new(0, 0);
        assert!(none.taken(0, now));
        assert_eq!(none.step(0, now), Step::Wait);
    }
}

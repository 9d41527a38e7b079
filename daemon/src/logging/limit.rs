//! Lines that a peer can provoke as often as it likes: counted, and written once in a while. A flood fills no log.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Least time between two lines of a kind.
pub const LOG_EVERY: Duration = Duration::from_secs(10);

/// The lines of one kind.
#[derive(Debug, Default)]
pub struct LineLimit {
    total: AtomicU64,
    logged: Mutex<Option<Logged>>,
}

#[derive(Debug, Clone, Copy)]
struct Logged {
    at: Instant,
    total: u64,
}

/// What a line says of those that were not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineCounts {
    /// How many there were since the last line, this one among them.
    pub since_last_line: u64,
    /// How many there were.
    pub total: u64,
}

impl LineLimit {
    /// None was written yet.
    pub const fn new() -> Self {
        Self {
            total: AtomicU64::new(0),
            logged: Mutex::new(None),
        }
    }

    /// Counts one; `None`: a line was written a moment ago.
    pub fn count(&self) -> Option<LineCounts> {
        let total = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        self.due(total, Instant::now())
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn due(&self, total: u64, now: Instant) -> Option<LineCounts> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *logged {
            Some(Logged { at, .. }) if now.saturating_duration_since(at) < LOG_EVERY => {
                return None;
            }
            Some(Logged { total, .. }) => total,
            None => 0,
        };
        *logged = Some(Logged { at: now, total });
        Some(LineCounts {
            since_last_line: total.saturating_sub(before),
            total,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_apart_and_say_what_they_left_out() {
        let limit = LineLimit::new();
        let start = Instant::now();
        let due = |since_last_line, total| {
            Some(LineCounts {
                since_last_line,
                total,
            })
        };
        assert_eq!(limit.due(1, start), due(1, 1));
        assert_eq!(limit.due(2, start + LOG_EVERY / 2), None);
        assert_eq!(limit.due(7, start + LOG_EVERY), due(6, 7));
    }
}

//! What was refused, counted by kind and logged once in a while, so that a flood fills no log.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Least time between two log lines about the same kind of refusal.
pub const LOG_EVERY: Duration = Duration::from_secs(10);

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Refused {
    /// Another protocol on a legacy port.
    CrossProtocol,
    /// A user or an address that may not.
    Peer,
    /// Connections in all: further ones wait.
    Full,
    /// Connections of one peer.
    Connections,
    /// Running commands.
    Commands,
    /// A connection that was silent for too long.
    Idle,
    /// A client that did not read its reply.
    Unread,
    /// A command that is none: NUL, undecodable, too long.
    Command,
    /// A datagram from where no client sends: a low port, broadcast, our own listeners.
    Source,
    /// Datagrams a second, or at once.
    Rate,
}

const KINDS: [&str; 10] = [
    "a cross-protocol attempt",
    "a peer that may not connect",
    "to accept more connections for now: as many are open as may",
    "a connection beyond the limit of its peer",
    "a command beyond the limit of running commands",
    "an idle connection",
    "a client that does not read its reply",
    "a malformed command",
    "a datagram from a forbidden source",
    "a datagram beyond the rate limits",
];

/// The counts.
#[derive(Debug, Default)]
pub struct Refusals {
    kinds: [Count; KINDS.len()],
}

#[derive(Debug, Default)]
struct Count {
    total: AtomicU64,
    logged: Mutex<Option<Logged>>,
}

#[derive(Debug, Clone, Copy)]
struct Logged {
    at: Instant,
    total: u64,
}

impl Refusals {
    /// Counts one, and logs it unless its kind was logged a moment ago.
    pub fn note(&self, refused: Refused, peer: &dyn fmt::Display, why: &dyn fmt::Display) {
        let count = &self.kinds[refused as usize];
        let total = count.total.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(since) = count.due(total, Instant::now()) {
            let kind = KINDS[refused as usize];
            tracing::warn!(%peer, %why, since_last_line = since, total, "refused {kind}");
        }
    }

    /// How many there were.
    pub fn total(&self, refused: Refused) -> u64 {
        self.kinds[refused as usize].total.load(Ordering::Relaxed)
    }
}

impl Count {
    /// How many there were since the last line, if it is time for another.
    fn due(&self, total: u64, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *logged {
            Some(Logged { at, .. }) if now.saturating_duration_since(at) < LOG_EVERY => {
                return None;
            }
            Some(Logged { total, .. }) => total,
            None => 0,
        };
        *logged = Some(Logged { at: now, total });
        Some(total.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_for_itself() {
        let refusals = Refusals::default();
        for _ in 0..3 {
            refusals.note(Refused::Rate, &"192.0.2.7", &"test");
        }
        assert_eq!(refusals.total(Refused::Rate), 3);
        assert_eq!(refusals.total(Refused::CrossProtocol), 0);
        assert_eq!(Refused::Rate as usize, KINDS.len() - 1);
    }

    #[test]
    fn lines_are_apart_and_say_what_they_left_out() {
        let count = Count::default();
        let start = Instant::now();
        assert_eq!(count.due(1, start), Some(1));
        assert_eq!(count.due(2, start + LOG_EVERY / 2), None);
        assert_eq!(count.due(7, start + LOG_EVERY), Some(6));
    }
}

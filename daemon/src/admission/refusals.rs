//! What was refused, counted by kind and logged once in a while, so that a flood fills no log.

use std::{fmt, sync::OnceLock};

use crate::logging::{LineCounts, LineLimit};

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
    /// TLS that did not come about.
    Handshake,
    /// A call without a credential that is known.
    Credential,
    /// Datagrams a second, or at once.
    Rate,
}

/// What each is called in the log, and as a label of metrics.
const KINDS: [(&str, &str); 12] = [
    ("a cross-protocol attempt", "cross_protocol"),
    ("a peer that may not connect", "peer"),
    (
        "to accept more connections for now: as many are open as may",
        "full",
    ),
    ("a connection beyond the limit of its peer", "connections"),
    ("a command beyond the limit of running commands", "commands"),
    ("an idle connection", "idle"),
    ("a client that does not read its reply", "unread"),
    ("a malformed command", "command"),
    ("a datagram from a forbidden source", "source"),
    ("a TLS handshake", "handshake"),
    ("a call without a valid credential", "credential"),
    ("a datagram beyond the rate limits", "rate"),
];

/// Is told each refusal: of what kind, of whom, and why.
pub type RefusalObserver = dyn Fn(Refused, &dyn fmt::Display, &dyn fmt::Display) + Send + Sync;

/// The counts.
#[derive(Default)]
pub struct Refusals {
    kinds: [LineLimit; KINDS.len()],
    observer: OnceLock<Box<RefusalObserver>>,
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = &self.kinds;
        f.debug_struct("Refusals")
            .field("kinds", kinds)
            .finish_non_exhaustive()
    }
}

impl Refusals {
    /// Has `observer` told each from now on. There is one at most: a second one is told nothing.
    pub fn observe(&self, observer: Box<RefusalObserver>) {
        let _ = self.observer.set(observer);
    }

    /// Counts one, and logs it unless its kind was logged a moment ago.
    pub fn note(&self, refused: Refused, peer: &dyn fmt::Display, why: &dyn fmt::Display) {
        if let Some(observer) = self.observer.get() {
            observer(refused, peer, why);
        }
        if let Some(due) = self.kinds[refused as usize].count() {
            let LineCounts {
                since_last_line,
                total,
            } = due;
            let (kind, _) = KINDS[refused as usize];
            tracing::warn!(%peer, %why, since_last_line, total, "refused {kind}");
        }
    }

    /// How many there were.
    pub fn total(&self, refused: Refused) -> u64 {
        self.kinds[refused as usize].total()
    }
}

impl Refusals {
    /// How many there were of each kind, by its label.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let kinds = KINDS.iter().zip(&self.kinds);
        kinds.map(|(&(_, label), kind)| (label, kind.total()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_counted_for_itself() {
        let refusals = Refusals::default();
        let (observed, told) = std::sync::mpsc::channel();
        refusals.observe(Box::new(move |refused, peer, why| {
            let _ = observed.send((refused, format!("{peer} {why}")));
        }));
        for _ in 0..3 {
            refusals.note(Refused::Rate, &"192.0.2.7", &"test");
        }
        let told: Vec<_> = told.try_iter().collect();
        assert_eq!(told, vec![(Refused::Rate, "192.0.2.7 test".to_owned()); 3]);
        assert_eq!(refusals.total(Refused::Rate), 3);
        assert_eq!(refusals.total(Refused::CrossProtocol), 0);
        assert_eq!(Refused::Rate as usize, KINDS.len() - 1);
    }
}

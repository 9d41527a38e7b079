//! What a durable execution has beyond an attached one: a journal, readers, and a request that is known by its id.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use remex_supervisor::{
    journal::{Damage, DiskFolder, JournalSummary, Keep},
    lifecycle::{
        counters::{Counters, Position},
        presence::OnDisconnect,
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{files::Files, seats::Seats};

/// The record of a durable execution is kept for so long after its end.
pub const DURABLE_KEPT: Duration = Duration::from_hours(3 * 24);

/// How an execution is kept, as its caller asked for it.
#[derive(Debug, Clone)]
pub struct Durability {
    /// The caller's own id for it.
    pub request_id: Option<String>,
    /// What happens when its last caller goes.
    pub on_disconnect: OnDisconnect,
    /// What of its output is kept.
    pub keep: Keep,
}

/// How far an execution has come, for those who read along.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// The last event that may be told.
    pub(crate) through: u64,
    /// stdin that was accepted.
    pub(crate) stdin_accepted: u64,
    /// Nobody writes any more: all that is there may be told.
    pub(crate) is_over: bool,
}

/// What a record shows of a journal.
#[derive(Debug, Clone, Default)]
pub struct JournalFacts {
    /// The earliest event of which the output is kept; 0: of none.
    pub first_sequence: u64,
    /// Bytes on disk.
    pub stored_bytes: u64,
    /// The command waits for room.
    pub is_blocked: bool,
    /// What has failed.
    pub storage_error: String,
}

/// A durable execution's part of its record.
#[derive(Debug)]
pub struct Kept {
    /// What was asked for.
    pub durability: Durability,
    /// Who reads along.
    pub(crate) seats: Seats,
    pub(crate) progress: watch::Sender<Progress>,
    /// When it started, if this server has started it: its readers are told so without a look at the journal.
    pub(crate) started: Option<SystemTime>,
    /// The folder of its journal's folder.
    pub(crate) journals: DiskFolder,
    pub(crate) files: Files,
    /// The server goes.
    pub(crate) closing: CancellationToken,
    /// Whoever deletes it: one at a time.
    pub(super) deleting: tokio::sync::Mutex<()>,
    facts: Mutex<JournalFacts>,
}

impl Kept {
    pub(crate) fn new(
        durability: Durability,
        journals: DiskFolder,
        files: Files,
        closing: CancellationToken,
        started: Option<SystemTime>,
    ) -> Arc<Self> {
        Arc::new(Self {
            durability,
            seats: Seats::default(),
            progress: watch::Sender::default(),
            started,
            journals,
            files,
            closing,
            deleting: tokio::sync::Mutex::default(),
            facts: Mutex::default(),
        })
    }

    /// What is known of its journal.
    pub fn facts(&self) -> JournalFacts {
        self.lock().clone()
    }

    /// How many callers are there.
    pub fn callers(&self) -> u32 {
        self.seats.callers()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut JournalFacts)) {
        change(&mut self.lock());
    }

    /// Takes over what a journal says.
    pub(crate) fn learn(&self, summary: &JournalSummary, counters: &Counters) {
        let [stdout, stderr, terminal] = summary.positions;
        counters.follow(Position {
            stdout_bytes: stdout + terminal,
            stderr_bytes: stderr,
            stdin_accepted: summary.stdin_accepted,
            last_sequence: summary.last_sequence,
        });
        self.update(|facts| {
            facts.first_sequence = summary.first_sequence;
            facts.stored_bytes = summary.stored_bytes;
            facts.is_blocked = false;
            if let Some(error) = &summary.storage_error {
                facts.storage_error.clone_from(error);
            } else if summary.is_damaged && facts.storage_error.is_empty() {
                "some of what was stored cannot be read".clone_into(&mut facts.storage_error);
            }
        });
    }

    /// A reader has found events that cannot be read.
    pub(crate) fn note_damage(&self, damage: Damage) {
        let Damage {
            first_sequence: first,
            sequence: last,
        } = damage;
        self.update(|facts| {
            if facts.storage_error.is_empty() {
                facts.storage_error = format!(
                    "some of what was stored cannot be read: events {first} to {last}, and perhaps others"
                );
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, JournalFacts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

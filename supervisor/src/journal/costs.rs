//! What the journals that this process writes have cost so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Of this process: a supervisor writes one journal, a server what it finds unfinished.
static WRITTEN_BYTES: AtomicU64 = AtomicU64::new(0);
static SYNCS: AtomicU64 = AtomicU64::new(0);

/// Bytes that were written, and how often what was written was waited for to be on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalCosts {
    /// Bytes, without those that only take room.
    pub written_bytes: u64,
    /// Of files and of folders.
    pub syncs: u64,
}

impl JournalCosts {
    /// Of this process, so far.
    pub fn of_this_process() -> Self {
        Self {
            written_bytes: WRITTEN_BYTES.load(Ordering::Relaxed),
            syncs: SYNCS.load(Ordering::Relaxed),
        }
    }

    /// How much more it is than `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            syncs: self.syncs.saturating_sub(before.syncs),
        }
    }
}

pub(super) fn wrote(bytes: usize) {
    WRITTEN_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
}

pub(super) fn synced() {
    SYNCS.fetch_add(1, Ordering::Relaxed);
}

//! One output stream of a command as it is collected: transcoded, in memory up to a bound, then spooled.

use std::mem;

use super::{
    Lease, Piece, Policy, Spooled,
    spool::{SpoolLost, Writer, Written},
};
use crate::wire::Transcoder;

/// What is handed to the file at once, once there is one and memory for it: as much as one message brings. Large batches gain
/// nothing, and each reply that is spooled has two of them.
const BATCH_BYTES: usize = 64 * 1024;

pub(super) struct Part {
    transcoder: Transcoder,
    /// What is not spooled yet.
    memory: Vec<u8>,
    /// What the batch takes that is being written.
    batch_bytes: usize,
    place: Place,
    /// Bytes that were handed to the file.
    handed_bytes: u64,
    /// Bytes that there were in all, kept or not.
    total_bytes: u64,
    digest: bool,
    lease: Lease,
}

/// Where the beginning of a part is.
enum Place {
    /// In memory, as all of it.
    Memory,
    /// In a file.
    File(Writer),
    /// In memory, behind what the file took: it takes no more, and what is more is lost.
    Kept(Spooled),
    /// Nowhere: the runtime is going away.
    Lost,
}

/// A part that has ended.
pub(super) struct Collected {
    /// In order; some may be empty.
    pub(super) pieces: Vec<Piece>,
    pub(super) lease: Lease,
    pub(super) total_bytes: u64,
}

impl Part {
    /// `digest`: to be hashed while it is spooled.
    pub(super) fn new(policy: &Policy, digest: bool) -> Self {
        Self {
            transcoder: Transcoder::new(policy.charset),
            memory: Vec::new(),
            batch_bytes: 0,
            place: Place::Memory,
            handed_bytes: 0,
            total_bytes: 0,
            digest,
            lease: policy.memory.lease(),
        }
    }

    pub(super) async fn push(&mut self, bytes: &[u8], policy: &Policy) {
        let room = self.make_room(bytes.len(), policy);
        if !room && !self.memory.is_empty() {
            self.spool(policy).await;
        }
        let before = self.memory.len();
        self.transcoder.push(bytes, &mut self.memory);
        self.count(before, policy);
        if let Place::Kept(_) = self.place {
            return self.memory.truncate(before);
        }
        if self.memory.len() >= self.most_bytes(policy) || !room {
            self.spool(policy).await;
        }
        self.lease.insist(self.memory.capacity() + self.batch_bytes);
    }

    /// Asks for memory before it grows, as much as it grows by; `false`: what is there has to go to the file, and what comes
    /// follows it at once.
    fn make_room(&mut self, bytes: usize, policy: &Policy) -> bool {
        let (length, capacity) = (self.memory.len(), self.memory.capacity());
        let needed = length + bytes;
        if needed <= capacity || matches!(self.place, Place::Kept(_)) {
            return true;
        }
        let wanted = (2 * capacity).min(self.most_bytes(policy)).max(needed);
        if self.lease.resize(wanted + self.batch_bytes) {
            self.memory.reserve_exact(wanted - length);
            return true;
        }
        needed <= policy.reserve_bytes
    }

    /// What is collected before it goes to the file.
    fn most_bytes(&self, policy: &Policy) -> usize {
        match self.place {
            Place::File(_) => BATCH_BYTES.min(policy.memory_bytes),
            _ => policy.memory_bytes,
        }
    }

    /// Bytes that there were so far, kept or not.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Output that the server no longer has.
    pub(super) fn miss(&mut self, bytes: u64) {
        self.total_bytes += bytes;
    }

    fn count(&mut self, before: usize, policy: &Policy) {
        self.total_bytes += (self.memory.len() - before) as u64;
        let room = policy.most_bytes.saturating_sub(self.handed_bytes);
        self.memory
            .truncate(usize::try_from(room).unwrap_or(usize::MAX));
    }

    async fn spool(&mut self, policy: &Policy) {
        let Some(spool) = &policy.spool else {
            return;
        };
        self.handed_bytes += self.memory.len() as u64;
        self.batch_bytes = self.memory.capacity();
        self.place = match mem::replace(&mut self.place, Place::Lost) {
            Place::Memory => {
                let batch = mem::take(&mut self.memory);
                Place::File(Writer::start(spool.clone(), self.digest, batch).await)
            }
            Place::File(writer) => match writer.write(&mut self.memory).await {
                Ok(Written::More(writer)) => Place::File(writer),
                Ok(Written::Full(spooled)) => return self.keep(spooled),
                Err(SpoolLost) => Place::Lost,
            },
            kept @ (Place::Kept(_) | Place::Lost) => {
                self.place = kept;
                return;
            }
        };
        self.memory.clear();
    }

    /// The file takes no more: what is in memory is the last that there is.
    fn keep(&mut self, spooled: Spooled) {
        self.memory.shrink_to_fit();
        self.batch_bytes = 0;
        self.lease.insist(self.memory.capacity());
        self.place = Place::Kept(spooled);
    }

    pub(super) async fn finish(mut self, policy: &Policy) -> Collected {
        let before = self.memory.len();
        self.transcoder.finish(&mut self.memory);
        self.count(before, policy);
        if let Place::Kept(_) = self.place {
            self.memory.truncate(before);
        }
        if matches!(self.place, Place::File(_)) && !self.memory.is_empty() {
            self.spool(policy).await;
        }
        let pieces = match self.place {
            Place::Memory => {
                self.memory.shrink_to_fit();
                self.lease.insist(self.memory.capacity());
                vec![Piece::Memory(self.memory.into())]
            }
            Place::File(writer) => match writer.finish().await {
                Ok((spooled, rest)) => {
                    self.lease.insist(rest.capacity());
                    vec![Piece::from(spooled), Piece::Memory(rest.into())]
                }
                Err(SpoolLost) => Vec::new(),
            },
            Place::Kept(spooled) => {
                vec![Piece::from(spooled), Piece::Memory(self.memory.into())]
            }
            Place::Lost => Vec::new(),
        };
        Collected {
            pieces,
            lease: self.lease,
            total_bytes: self.total_bytes,
        }
    }
}

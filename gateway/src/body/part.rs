//! One output stream of a command as it is collected: transcoded, in memory up to a bound, then spooled.

use std::mem;

use bytes::Bytes;

use super::{
    Piece, Policy,
    spool::{SpoolLost, Writer},
};
use crate::wire::Transcoder;

pub(super) struct Part {
    transcoder: Transcoder,
    /// What is not spooled yet.
    memory: Vec<u8>,
    place: Place,
    /// Bytes that were handed to the file.
    handed_bytes: u64,
    /// Bytes that there were in all, kept or not.
    total_bytes: u64,
    digest: bool,
}

/// Where the beginning of a part is.
enum Place {
    /// In memory, as all of it.
    Memory,
    /// In a file.
    File(Writer),
    /// Nowhere: the runtime is going away.
    Lost,
}

/// A part that has ended.
pub(super) struct Collected {
    pub(super) piece: Piece,
    pub(super) total_bytes: u64,
}

impl Part {
    /// `digest`: to be hashed while it is spooled.
    pub(super) fn new(policy: &Policy, digest: bool) -> Self {
        Self {
            transcoder: Transcoder::new(policy.charset),
            memory: Vec::new(),
            place: Place::Memory,
            handed_bytes: 0,
            total_bytes: 0,
            digest,
        }
    }

    pub(super) async fn push(&mut self, bytes: &[u8], policy: &Policy) {
        let before = self.memory.len();
        self.transcoder.push(bytes, &mut self.memory);
        self.count(before, policy);
        if self.memory.len() >= policy.memory_bytes {
            self.spool(policy).await;
        }
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
        self.place = match mem::replace(&mut self.place, Place::Lost) {
            Place::Memory => {
                let batch = mem::take(&mut self.memory);
                Place::File(Writer::start(spool.clone(), self.digest, batch))
            }
            Place::File(writer) => match writer.write(&mut self.memory).await {
                Ok(writer) => Place::File(writer),
                Err(SpoolLost) => Place::Lost,
            },
            Place::Lost => Place::Lost,
        };
        // What is lost keeps the memory bounded all the same.
        self.memory.clear();
    }

    pub(super) async fn finish(mut self, policy: &Policy) -> Collected {
        let before = self.memory.len();
        self.transcoder.finish(&mut self.memory);
        self.count(before, policy);
        if !matches!(self.place, Place::Memory) && !self.memory.is_empty() {
            self.spool(policy).await;
        }
        let piece = match self.place {
            Place::Memory => Piece::Memory(self.memory.into()),
            Place::File(writer) => match writer.finish().await {
                Ok(spooled) => Piece::from(spooled),
                Err(SpoolLost) => Piece::Memory(Bytes::new()),
            },
            Place::Lost => Piece::Memory(Bytes::new()),
        };
        Collected {
            piece,
            total_bytes: self.total_bytes,
        }
    }
}

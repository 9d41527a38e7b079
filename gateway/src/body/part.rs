//! One output stream of a command as it is collected: transcoded, in memory up to a bound, then spooled.

use bytes::Bytes;

use super::{Piece, Policy, spool::Writer};
use crate::wire::Transcoder;

pub(super) struct Part {
    transcoder: Transcoder,
    /// What is not spooled yet.
    memory: Vec<u8>,
    writer: Option<Writer>,
    /// Bytes that were handed to `writer`.
    handed_bytes: u64,
    /// Bytes that there were in all, kept or not.
    total_bytes: u64,
    digest: bool,
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
            writer: None,
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
        if let Some(writer) = &mut self.writer {
            // A writer that is lost keeps the memory bounded all the same.
            if writer.write(&mut self.memory).await.is_err() {
                self.memory.clear();
            }
        } else {
            let batch = std::mem::take(&mut self.memory);
            self.writer = Some(Writer::start(spool.clone(), self.digest, batch));
        }
    }

    pub(super) async fn finish(mut self, policy: &Policy) -> Collected {
        let before = self.memory.len();
        self.transcoder.finish(&mut self.memory);
        self.count(before, policy);
        if self.writer.is_some() && !self.memory.is_empty() {
            self.spool(policy).await;
        }
        let piece = match self.writer {
            None => Piece::Memory(self.memory.into()),
            Some(writer) => match writer.finish().await {
                Ok(spooled) => Piece::from(spooled),
                Err(_) => Piece::Memory(Bytes::new()),
            },
        };
        Collected {
            piece,
            total_bytes: self.total_bytes,
        }
    }
}

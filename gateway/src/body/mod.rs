//! The body of a reply: stdout, then stderr, then what the gateway has to say; all there before the first byte leaves, since
//! its size and digest go first. In memory up to a bound, spooled to unlinked files beyond it, cut at another, and a cut is
//! told in the body itself.

mod collector;
mod memory;
mod part;
mod piece;
mod spool;

use bytes::Bytes;

pub use self::{
    collector::{Collector, Source, Tail},
    memory::{Lease, Memory},
    piece::Piece,
    spool::{Spool, Spooled},
};
use crate::wire::Charset;

/// How a body is collected.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What it is transcoded to.
    pub charset: Charset,
    /// The longest body, with all that is said in it.
    pub most_bytes: u64,
    /// What one stream may take in memory.
    pub memory_bytes: usize,
    /// What all replies together may take; beyond it they are spooled at once.
    pub memory: Memory,
    /// What one stream may take beyond that, so that short replies need no file and long ones are written in batches.
    pub reserve_bytes: usize,
    /// What a command takes besides until its end.
    pub running_bytes: usize,
    /// What its stream takes if it has more output than that.
    pub transit_bytes: usize,
    /// Where what is more goes; `None`: everything stays in memory, so `most_bytes` is small.
    pub spool: Option<Spool>,
    /// Its digest is needed.
    pub digest: bool,
}

/// A whole body.
#[derive(Debug, Default)]
pub struct Body {
    /// In this order; none is empty.
    pub pieces: Vec<Piece>,
    /// Bytes of stdout.
    pub stdout_bytes: u64,
    /// Bytes behind them.
    pub stderr_bytes: u64,
    /// Of all of it; zero unless it was asked for.
    pub md5: [u8; 16],
    /// Some of the output is missing.
    pub truncated: bool,
    /// The memory that it takes.
    _leases: Vec<Lease>,
}

impl Body {
    /// Whether all of it is in memory.
    pub fn is_in_memory(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Memory(_)))
    }

    /// What of it is in memory, in one piece: all of it, if its policy has no spool.
    pub fn into_bytes(self) -> Bytes {
        let mut memory = self.pieces.into_iter().filter_map(|piece| match piece {
            Piece::Memory(bytes) => Some(bytes),
            Piece::File { .. } => None,
        });
        let first = memory.next().unwrap_or_default();
        let Some(second) = memory.next() else {
            return first;
        };
        let mut whole = Vec::from(first);
        for bytes in [second].into_iter().chain(memory) {
            whole.extend_from_slice(&bytes);
        }
        whole.into()
    }
}

#[cfg(test)]
mod tests;

//! The parts of a body, and the digest over them.

use std::{fs::File, io, os::unix::fs::FileExt};

use bytes::Bytes;
use encoding_rs::Encoding;
use md5::{Digest, Md5};

use super::spool::Spooled;
use crate::wire::boundary;

/// Read at a time when a file is hashed again.
const HASH_BYTES: usize = 256 * 1024;

/// A part of a body.
#[derive(Debug)]
pub enum Piece {
    /// In memory.
    Memory(Bytes),
    /// The first `bytes` of a file.
    File {
        /// The file.
        spooled: Spooled,
        /// How much of it.
        bytes: u64,
    },
}

impl From<Spooled> for Piece {
    fn from(spooled: Spooled) -> Self {
        let bytes = spooled.bytes();
        Self::File { spooled, bytes }
    }
}

impl Piece {
    /// How long it is.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }

    /// Its last byte, if that is in memory.
    pub(super) fn last_byte(&self) -> Option<u8> {
        match self {
            Self::Memory(bytes) => bytes.last().copied(),
            Self::File { .. } => None,
        }
    }

    /// The file and how much of it counts, if it is one.
    pub fn file(&self) -> Option<(&File, u64)> {
        match self {
            Self::Memory(_) => None,
            Self::File { spooled, bytes } => spooled.file().map(|file| (file, *bytes)),
        }
    }

    pub(super) fn shorten(&mut self, most: u64, charset: &'static Encoding) {
        if self.bytes() <= most {
            return;
        }
        match self {
            Self::Memory(bytes) => {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                bytes.truncate(boundary(bytes, most, charset));
            }
            // Not worth a search for the last character: it is beyond what clients decode in one go.
            Self::File { bytes, .. } => *bytes = most,
        }
    }

    /// The digest of the file as it was written, if none of it was cut since.
    fn ready_digest(&mut self) -> Option<Md5> {
        match self {
            Self::File { spooled, bytes } if spooled.bytes() == *bytes => spooled.take_digest(),
            Self::File { .. } | Self::Memory(_) => None,
        }
    }

    fn hash(&self, digest: &mut Md5) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => digest.update(bytes),
            Self::File { .. } => {
                if let Some((file, bytes)) = self.file() {
                    hash_file(file, bytes, digest)?;
                }
            }
        }
        Ok(())
    }
}

/// The digest of all pieces. Blocks if one is a file.
pub(super) fn digest(pieces: &mut [Piece]) -> io::Result<[u8; 16]> {
    let ready = pieces.first_mut().and_then(Piece::ready_digest);
    let rest = &pieces[usize::from(ready.is_some())..];
    let mut digest = ready.unwrap_or_default();
    for piece in rest {
        piece.hash(&mut digest)?;
    }
    Ok(digest.finalize().into())
}

fn hash_file(file: &File, bytes: u64, digest: &mut Md5) -> io::Result<()> {
    let mut buffer = vec![0; HASH_BYTES];
    let mut offset = 0;
    while offset < bytes {
        let most = usize::try_from(bytes - offset).map_or(HASH_BYTES, |left| left.min(HASH_BYTES));
        file.read_exact_at(&mut buffer[..most], offset)?;
        digest.update(&buffer[..most]);
        offset += most as u64;
    }
    Ok(())
}

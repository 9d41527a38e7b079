//! A command's stdin as positions: what is new, what is a repetition, what is a hole. Pure.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of stdin that wait for the command; more is not accepted until it reads.
pub const STDIN_BUFFER_BYTES: usize = 1024 * 1024;

/// Pieces up to this size are put together.
const SMALL_BYTES: usize = 4 * 1024;

/// Up to this size.
const TAIL_BYTES: usize = 64 * 1024;

/// What is typed for the end of a terminal's stdin: Ctrl-D. It sends what was typed of a line; only where that is nothing
/// the reader sees an end.
const END_OF_TRANSMISSION: u8 = b'\x04';

/// What a terminal, as it is at first, takes for the end of a line: nothing that was typed waits behind one of these.
const LINE_ENDS: [u8; 3] = [b'\n', b'\r', END_OF_TRANSMISSION];

/// A piece of stdin as a caller gives it.
#[derive(Debug, Clone, Default)]
pub struct StdinChunk {
    /// Position of the first byte; `None`: at the end.
    pub offset: Option<u64>,
    /// The bytes.
    pub data: Bytes,
    /// stdin ends after them.
    pub eof: bool,
}

/// Why a chunk was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StdinError {
    /// New bytes after the end.
    #[error("stdin has ended at position {at}")]
    Closed {
        /// The end.
        at: u64,
    },
    /// Its first byte is beyond what has been accepted.
    #[error("stdin has been accepted up to position {accepted}; the chunk begins at {offset}")]
    Hole {
        /// Where the next chunk may begin at the latest.
        accepted: u64,
        /// Where it began.
        offset: u64,
    },
}

/// How much of a chunk was taken.
#[derive(Debug)]
pub enum Taken {
    /// All of it.
    Whole,
    /// What is left is to be offered again when there is room.
    Part(StdinChunk),
}

/// What of stdin has been accepted and not been given to the command yet.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Stdin {
    queue: VecDeque<Bytes>,
    /// Small pieces in one, so that typing costs bytes and not allocations.
    tail: BytesMut,
    queued: usize,
    accepted: u64,
    terminal: bool,
    /// On a terminal: what was typed since the last end of a line waits for one.
    line_begun: bool,
    ended: bool,
    /// The command reads no more: what comes is dropped.
    discards: bool,
}

impl Stdin {
    /// Stdin that begins with `first`, accepted whole whatever its size, and then ends unless it is `open`.
    pub fn new(first: Bytes, open: bool, terminal: bool) -> Self {
        let mut stdin = Self {
            queue: VecDeque::new(),
            tail: BytesMut::new(),
            queued: 0,
            accepted: 0,
            terminal,
            line_begun: false,
            ended: false,
            discards: false,
        };
        let any = !first.is_empty();
        stdin.push(first);
        if !open {
            // Without any stdin, nothing is typed at a terminal either.
            if any {
                stdin.end();
            }
            stdin.ended = true;
        }
        stdin
    }

    /// Accepts what is new of `chunk`, as far as there is room.
    pub fn offer(&mut self, mut chunk: StdinChunk) -> Result<Taken, StdinError> {
        let offset = chunk.offset.unwrap_or(self.accepted);
        let Some(known) = self.accepted.checked_sub(offset) else {
            return Err(StdinError::Hole {
                accepted: self.accepted,
                offset,
            });
        };
        let len = chunk.data.len() as u64;
        if self.ended {
            return if len <= known {
                Ok(Taken::Whole)
            } else {
                Err(StdinError::Closed { at: self.accepted })
            };
        }
        chunk
            .data
            .advance(usize::try_from(known.min(len)).unwrap_or(chunk.data.len()));
        let room = STDIN_BUFFER_BYTES.saturating_sub(self.queued);
        let fits = chunk.data.len().min(room);
        self.push(chunk.data.split_to(fits));
        if !chunk.data.is_empty() {
            chunk.offset = Some(self.accepted);
            return Ok(Taken::Part(chunk));
        }
        if chunk.eof {
            self.end();
        }
        Ok(Taken::Whole)
    }

    /// The end of stdin, as by a half-close.
    pub fn close(&mut self) {
        if !self.ended {
            self.end();
        }
    }

    /// What the command is to get next.
    pub fn front(&mut self) -> Option<&[u8]> {
        if self.queue.is_empty() && !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
        self.queue.front().map(Bytes::as_ref)
    }

    /// Bytes for the command.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether there is anything for the command.
    pub fn has_next(&self) -> bool {
        self.queued > 0
    }

    /// The command has got `bytes` of [`Self::front`].
    pub fn advance(&mut self, bytes: usize) {
        if let Some(front) = self.queue.front_mut() {
            front.advance(bytes);
            self.queued -= bytes;
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
    }

    /// Whether the command has got everything and its stdin is to be closed.
    pub fn is_finished(&self) -> bool {
        self.ended && self.queued == 0
    }

    /// The command has closed its stdin, or is gone: what waits, and what still comes, is dropped.
    pub fn discard(&mut self) {
        self.discards = true;
        self.drop_queued();
    }

    /// What waits is dropped; what still comes is not.
    pub fn drop_queued(&mut self) {
        self.queue.clear();
        self.tail.clear();
        self.queued = 0;
    }

    /// Position up to which stdin has been accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Once. At a terminal it is typed, and takes one position, however often the key is pressed.
    fn end(&mut self) {
        if self.terminal {
            let presses = if self.line_begun { 2 } else { 1 };
            self.accepted += 1;
            self.enqueue(Bytes::from_static(&[END_OF_TRANSMISSION; 2][..presses]));
        }
        self.ended = true;
    }

    fn push(&mut self, data: Bytes) {
        let Some(last) = data.last() else { return };
        self.line_begun = !LINE_ENDS.contains(last);
        self.accepted += data.len() as u64;
        self.enqueue(data);
    }

    fn enqueue(&mut self, data: Bytes) {
        if self.discards {
            return;
        }
        self.queued += data.len();
        if data.len() <= SMALL_BYTES && self.tail.len() < TAIL_BYTES {
            self.tail.extend_from_slice(&data);
            return;
        }
        if !self.tail.is_empty() {
            self.queue.push_back(self.tail.split().freeze());
        }
        self.queue.push_back(data);
    }
}

#[cfg(test)]
mod tests;

//! From reads to outputs: what becomes one event, and when. Pure; times are since the spawn.
//!
//! The rule: what was read is sent at once if nothing was sent within the last [`COALESCE_INTERVAL`], or if
//! [`COALESCE_BYTES`] wait, or if the execution is ending; else when that interval is over. Up to 3 bytes that begin a
//! UTF-8 character wait for the rest of it, at most [`HOLD`]. Only one stream waits at a time, so the order in which the
//! streams were read is kept.

use std::time::Duration;

use bytes::Bytes;

/// Most bytes of a command's output in one event, and in one read.
pub const MAX_OUTPUT_BYTES: usize = 64 * 1024;

/// The same of a command whose reader has not yet taken more than it: one that nobody reads holds little.
pub const FIRST_OUTPUT_BYTES: usize = 8 * 1024;

/// Small outputs come no faster than this.
pub const COALESCE_INTERVAL: Duration = Duration::from_millis(5);

/// An output of this size waits for nothing.
pub const COALESCE_BYTES: usize = 32 * 1024;

/// How long the beginning of a character waits for the rest of it.
pub const HOLD: Duration = Duration::from_millis(50);

/// Outputs up to this size are copied out of the read buffer, which is then used again.
const COPY_BYTES: usize = 16 * 1024;

/// The most bytes that a character has without its last.
const MAX_HELD_BYTES: usize = 3;

/// The most streams that a command has: stdout and stderr, or one terminal.
pub const STREAMS: usize = 2;

/// Where a command wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum OutputStream {
    Stdout,
    Stderr,
    Terminal,
}

/// A piece of output that is ready to become an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where it was written.
    pub stream: OutputStream,
    /// Its first byte's position in that stream.
    pub offset: u64,
    /// At most [`MAX_OUTPUT_BYTES`]; never empty.
    pub data: Bytes,
}

/// When a chunk may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing waits.
    Never,
    /// Then.
    At(Duration),
    /// Now.
    Now,
}

/// Collects one execution's reads into chunks.
#[derive(Debug)]
pub struct Chunker {
    buffer: Vec<u8>,
    /// The most that it takes.
    most_bytes: usize,
    /// Whose bytes the buffer holds.
    current: Option<OutputStream>,
    /// What is held back of each stream.
    held: [Held; 3],
    /// Bytes of each stream that were taken.
    offsets: [u64; 3],
    last_taken: Option<Duration>,
}

/// The first bytes of a character.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    bytes: [u8; MAX_HELD_BYTES],
    len: usize,
    /// Since when.
    since: Option<Duration>,
    /// The stream has ended: nothing is held back any more.
    ended: bool,
}

impl Default for Chunker {
    fn default() -> Self {
        Self {
            buffer: Vec::new(),
            most_bytes: FIRST_OUTPUT_BYTES,
            current: None,
            held: <[Held; 3]>::default(),
            offsets: [0; 3],
            last_taken: None,
        }
    }
}

impl Chunker {
    /// Whether a chunk of `bytes` was as large as they are now, but for a character that has begun, and they may be larger.
    pub fn may_grow(&self, bytes: usize) -> bool {
        bytes + MAX_HELD_BYTES >= self.most_bytes && self.most_bytes < MAX_OUTPUT_BYTES
    }

    /// From now on chunks are up to [`MAX_OUTPUT_BYTES`].
    pub fn grow(&mut self) {
        self.most_bytes = MAX_OUTPUT_BYTES;
    }

    /// The buffer to append a read of `stream` to, as much as its capacity takes; `None` while another stream's bytes
    /// wait, or there is no room.
    pub fn buffer_for(&mut self, stream: OutputStream) -> Option<&mut Vec<u8>> {
        if !self.has_room(stream) {
            return None;
        }
        if self.current.is_none() {
            self.buffer.clear();
            if self.buffer.capacity() < self.most_bytes {
                self.buffer = Vec::with_capacity(self.most_bytes);
            }
            let held = &self.held[index(stream)];
            self.buffer.extend_from_slice(&held.bytes[..held.len]);
        }
        Some(&mut self.buffer)
    }

    /// Whether [`Self::buffer_for`] would give one.
    pub fn has_room(&self, stream: OutputStream) -> bool {
        match self.current {
            None => true,
            Some(current) => current == stream && self.buffer.len() < self.buffer.capacity(),
        }
    }

    /// The buffer that [`Self::buffer_for`] gave has got bytes.
    pub fn filled(&mut self, stream: OutputStream) {
        self.current = Some(stream);
        self.held[index(stream)].len = 0;
    }

    /// `stream` has ended.
    pub fn end(&mut self, stream: OutputStream) {
        self.held[index(stream)].ended = true;
    }

    /// When there is a chunk to take; `ending` says that nothing more is to be waited for.
    pub fn due(&self, now: Duration, ending: bool) -> Due {
        if let Some(stream) = self.current {
            let enough = COALESCE_BYTES.min(self.buffer.capacity());
            let waits = self.buffer.len() < enough && !ending && !self.held[index(stream)].ended;
            return match self.last_taken.map(|taken| taken + COALESCE_INTERVAL) {
                Some(at) if waits && at > now => Due::At(at),
                _ => Due::Now,
            };
        }
        let held = self.held.iter().filter(|held| held.len > 0);
        match held.map(Held::due).min() {
            None => Due::Never,
            Some(at) if at <= now => Due::Now,
            Some(at) => Due::At(at),
        }
    }

    /// The chunk that is due, if it is more than the beginning of a character that may still be completed.
    pub fn take(&mut self, now: Duration) -> Option<Chunk> {
        match self.current.take() {
            Some(stream) => self.take_buffer(stream, now),
            None => self.take_held(now),
        }
    }

    fn take_buffer(&mut self, stream: OutputStream, now: Duration) -> Option<Chunk> {
        let held = &mut self.held[index(stream)];
        let begun = held.hold(&self.buffer, now);
        let rest = self.buffer.len() - begun;
        held.len = begun;
        held.bytes[..begun].copy_from_slice(&self.buffer[rest..]);
        self.buffer.truncate(rest);
        if self.buffer.is_empty() {
            return None;
        }
        let data = if self.buffer.len() <= COPY_BYTES {
            Bytes::copy_from_slice(&self.buffer)
        } else {
            Bytes::from(std::mem::take(&mut self.buffer))
        };
        Some(self.chunk(stream, data, now))
    }

    fn take_held(&mut self, now: Duration) -> Option<Chunk> {
        let stream = ALL_STREAMS.into_iter().find(|&stream| {
            let held = &self.held[index(stream)];
            held.len > 0 && held.due() <= now
        })?;
        let held = &mut self.held[index(stream)];
        let data = Bytes::copy_from_slice(&held.bytes[..held.len]);
        held.len = 0;
        held.since = None;
        Some(self.chunk(stream, data, now))
    }

    fn chunk(&mut self, stream: OutputStream, data: Bytes, now: Duration) -> Chunk {
        let offset = self.offsets[index(stream)];
        self.offsets[index(stream)] += data.len() as u64;
        self.last_taken = Some(now);
        Chunk {
            stream,
            offset,
            data,
        }
    }
}

impl Held {
    /// How many bytes at the end of `buffer` are to be held back at `now`.
    fn hold(&mut self, buffer: &[u8], now: Duration) -> usize {
        let begun = if self.ended {
            0
        } else {
            begun_character(buffer)
        };
        self.since = match begun {
            0 => None,
            // Nothing new since it was begun: its time runs on.
            begun if begun == buffer.len() => self.since.or(Some(now)),
            _ => Some(now),
        };
        if self.since.is_some() && self.due() <= now {
            self.since = None;
            return 0;
        }
        begun
    }

    fn due(&self) -> Duration {
        match self.since {
            Some(since) if !self.ended => since + HOLD,
            _ => Duration::ZERO,
        }
    }
}

const ALL_STREAMS: [OutputStream; 3] = [
    OutputStream::Stdout,
    OutputStream::Stderr,
    OutputStream::Terminal,
];

fn index(stream: OutputStream) -> usize {
    match stream {
        OutputStream::Stdout => 0,
        OutputStream::Stderr => 1,
        OutputStream::Terminal => 2,
    }
}

/// How many bytes at the end of `bytes`, up to 3, are a UTF-8 character that has begun and may still be completed.
pub fn begun_character(bytes: &[u8]) -> usize {
    for len in 1..=bytes.len().min(3) {
        let tail = &bytes[bytes.len() - len..];
        if tail[0] & 0b1100_0000 != 0b1000_0000 {
            let begun = std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none());
            return if begun { len } else { 0 };
        }
    }
    0
}

#[cfg(test)]
mod tests;

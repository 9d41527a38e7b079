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
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn read(chunker: &mut Chunker, stream: OutputStream, bytes: &[u8]) {
        let buffer = chunker.buffer_for(stream).unwrap();
        assert!(bytes.len() <= buffer.capacity() - buffer.len());
        buffer.extend_from_slice(bytes);
        chunker.filled(stream);
    }

    fn take(chunker: &mut Chunker, now: Duration) -> Option<(OutputStream, u64, Vec<u8>)> {
        chunker
            .take(now)
            .map(|chunk| (chunk.stream, chunk.offset, chunk.data.to_vec()))
    }

    #[test]
    fn the_first_output_waits_for_nothing_and_the_next_for_the_interval() {
        let mut chunker = Chunker::default();
        assert_eq!(chunker.due(ms(1), false), Due::Never);
        read(&mut chunker, OutputStream::Stdout, b"one");
        assert_eq!(chunker.due(ms(1), false), Due::Now);
        assert_eq!(
            take(&mut chunker, ms(1)),
            Some((OutputStream::Stdout, 0, b"one".to_vec()))
        );
        read(&mut chunker, OutputStream::Stdout, b"two");
        let at = ms(1) + COALESCE_INTERVAL;
        assert_eq!(chunker.due(ms(2), false), Due::At(at));
        assert_eq!(chunker.due(ms(2), true), Due::Now);
        read(&mut chunker, OutputStream::Stdout, b"three");
        assert_eq!(chunker.due(at, false), Due::Now);
        assert_eq!(
            take(&mut chunker, at),
            Some((OutputStream::Stdout, 3, b"twothree".to_vec()))
        );
    }

    #[test]
    fn a_large_output_waits_for_nothing() {
        let mut chunker = Chunker::default();
        chunker.grow();
        read(&mut chunker, OutputStream::Stdout, b"x");
        take(&mut chunker, ms(1));
        read(
            &mut chunker,
            OutputStream::Stdout,
            &vec![b'y'; COALESCE_BYTES - 1],
        );
        assert!(matches!(chunker.due(ms(1), false), Due::At(_)));
        read(&mut chunker, OutputStream::Stdout, b"y");
        assert_eq!(chunker.due(ms(1), false), Due::Now);
    }

    #[test]
    fn a_chunk_is_never_larger_than_the_limit() {
        let mut chunker = Chunker::default();
        chunker.grow();
        read(
            &mut chunker,
            OutputStream::Stdout,
            &vec![b'y'; MAX_OUTPUT_BYTES],
        );
        assert!(!chunker.has_room(OutputStream::Stdout));
        assert!(chunker.buffer_for(OutputStream::Stdout).is_none());
        let (_, _, data) = take(&mut chunker, ms(1)).unwrap();
        assert_eq!(data.len(), MAX_OUTPUT_BYTES);
        // What is held back counts.
        read(
            &mut chunker,
            OutputStream::Stdout,
            "é".as_bytes().split_at(1).0,
        );
        assert_eq!(take(&mut chunker, ms(2)), None);
        let buffer = chunker.buffer_for(OutputStream::Stdout).unwrap();
        assert_eq!(buffer.capacity() - buffer.len(), MAX_OUTPUT_BYTES - 1);
    }

    #[test]
    fn chunks_are_small_until_their_reader_keeps_up() {
        let mut chunker = Chunker::default();
        let full = vec![b'y'; FIRST_OUTPUT_BYTES];
        read(&mut chunker, OutputStream::Stdout, &full);
        assert!(!chunker.has_room(OutputStream::Stdout));
        take(&mut chunker, ms(1)).unwrap();
        // A full one waits for nothing.
        read(&mut chunker, OutputStream::Stdout, &full);
        assert_eq!(chunker.due(ms(2), false), Due::Now);
        take(&mut chunker, ms(2)).unwrap();
        // What is held back of it counts.
        for (less, grows) in [
            (0, true),
            (MAX_HELD_BYTES, true),
            (MAX_HELD_BYTES + 1, false),
        ] {
            assert_eq!(chunker.may_grow(full.len() - less), grows, "{less}");
        }
        chunker.grow();
        assert!(!chunker.may_grow(MAX_OUTPUT_BYTES));
        let buffer = chunker.buffer_for(OutputStream::Stdout).unwrap();
        assert_eq!(buffer.capacity(), MAX_OUTPUT_BYTES);
    }

    #[test]
    fn streams_keep_the_order_in_which_they_were_read() {
        let mut chunker = Chunker::default();
        read(&mut chunker, OutputStream::Stdout, b"out");
        assert!(!chunker.has_room(OutputStream::Stderr));
        assert!(chunker.buffer_for(OutputStream::Stderr).is_none());
        assert_eq!(take(&mut chunker, ms(1)).unwrap().0, OutputStream::Stdout);
        read(&mut chunker, OutputStream::Stderr, b"err");
        assert_eq!(
            take(&mut chunker, ms(9)),
            Some((OutputStream::Stderr, 0, b"err".to_vec()))
        );
    }

    #[test]
    fn a_begun_character_waits_for_its_rest() {
        let mut chunker = Chunker::default();
        let euro = "€".as_bytes();
        read(
            &mut chunker,
            OutputStream::Stdout,
            &[b"a", &euro[..1]].concat(),
        );
        assert_eq!(
            take(&mut chunker, ms(1)),
            Some((OutputStream::Stdout, 0, b"a".to_vec()))
        );
        assert_eq!(chunker.due(ms(1), false), Due::At(ms(1) + HOLD));
        read(&mut chunker, OutputStream::Stdout, &euro[1..]);
        assert_eq!(
            take(&mut chunker, ms(9)),
            Some((OutputStream::Stdout, 1, euro.to_vec()))
        );
        assert_eq!(chunker.due(ms(99), false), Due::Never);
    }

    #[test]
    fn a_begun_character_waits_no_longer_than_the_hold_or_the_stream() {
        let mut chunker = Chunker::default();
        let clef = "𝄞".as_bytes();
        read(&mut chunker, OutputStream::Stdout, &clef[..1]);
        assert_eq!(take(&mut chunker, ms(1)), None);
        // Another byte of it does not start the time anew.
        read(&mut chunker, OutputStream::Stdout, &clef[1..2]);
        assert_eq!(take(&mut chunker, ms(40)), None);
        let at = ms(1) + HOLD;
        assert_eq!(chunker.due(ms(40), false), Due::At(at));
        assert_eq!(
            take(&mut chunker, at),
            Some((OutputStream::Stdout, 0, clef[..2].to_vec()))
        );

        read(&mut chunker, OutputStream::Stderr, &clef[..3]);
        assert_eq!(take(&mut chunker, ms(90)), None);
        chunker.end(OutputStream::Stderr);
        assert_eq!(chunker.due(ms(90), false), Due::Now);
        assert_eq!(
            take(&mut chunker, ms(90)),
            Some((OutputStream::Stderr, 0, clef[..3].to_vec()))
        );
    }

    #[test]
    fn only_what_may_become_a_character_is_held_back() {
        for (bytes, held) in [
            (&b""[..], 0),
            (b"a", 0),
            (b"\xe2", 1),
            (b"\xe2\x82", 2),
            (b"\xe2\x82\xac", 0),
            (b"\xf0\x9d\x84", 3),
            (b"\x80\x80", 0),
            (b"\xff", 0),
            (b"\xc0", 0),
            (b"\xe0\x80", 0),
            (b"a\xc3", 1),
        ] {
            assert_eq!(begun_character(bytes), held, "{bytes:?}");
        }
    }

    #[test]
    fn the_limits_are_those_that_callers_know() {
        assert_eq!(MAX_OUTPUT_BYTES, 65_536);
        assert_eq!(FIRST_OUTPUT_BYTES, 8192);
        assert_eq!(COALESCE_BYTES, 32_768);
        assert_eq!(COALESCE_INTERVAL, ms(5));
        assert_eq!(HOLD, ms(50));
    }

    #[test]
    fn a_small_output_leaves_its_buffer_behind_and_a_large_one_takes_it_along() {
        let mut chunker = Chunker::default();
        chunker.grow();
        for (bytes, stays) in [(1, true), (16_384, true), (16_385, false)] {
            read(&mut chunker, OutputStream::Stdout, &vec![b'x'; bytes]);
            let buffer = chunker.buffer.as_ptr();
            let chunk = chunker.take(ms(1)).unwrap();
            assert_eq!(chunk.data.len(), bytes);
            assert_eq!(chunk.data.as_ptr() == buffer, !stays, "{bytes}");
            let next = chunker.buffer_for(OutputStream::Stdout).unwrap();
            assert_eq!(next.as_ptr() == buffer, stays, "{bytes}");
            assert_eq!(next.capacity(), MAX_OUTPUT_BYTES);
        }
    }

    /// The time of each begun character is its own.
    #[test]
    fn a_begun_character_waits_from_its_own_beginning() {
        let mut chunker = Chunker::default();
        read(&mut chunker, OutputStream::Stdout, b"whole");
        take(&mut chunker, ms(1));
        read(&mut chunker, OutputStream::Stdout, b"\xe2");
        assert_eq!(take(&mut chunker, ms(40)), None);
        assert_eq!(chunker.due(ms(40), false), Due::At(ms(40) + HOLD));
        // It is completed, and the next one begins.
        read(&mut chunker, OutputStream::Stdout, b"\x82\xac\xe2");
        let (_, offset, data) = take(&mut chunker, ms(60)).unwrap();
        assert_eq!((offset, &data[..]), (5, "€".as_bytes()));
        assert_eq!(chunker.due(ms(60), false), Due::At(ms(60) + HOLD));
    }
}

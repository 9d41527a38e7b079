//! What a journal looks like on disk. Pure.
//!
//! A journal is a folder of segments, `segment-00000001` and so on. A segment is a header of [`HEADER_BYTES`], then frames
//! without a gap, then zeros or nothing. All numbers of fixed size are little-endian.
//!
//! ```text
//! header:  0  "rmxjrnl\n"
//!          8  u16  version of the format
//!         10  u16  the oldest version whose readers understand it
//!         12  u16  bytes of the whole header: where the first frame is
//!         14  u16  bytes of fields
//!         16  u32  CRC-32C of the whole header, with zero in place of this
//!         20  u32  marker
//!         24  fields, then zeros
//!
//! frame:   0  u32  marker
//!          4  u32  bytes of the body
//!          8  u32  CRC-32C of marker, length and body
//!         12  body: u8 kind, u8 flags, u64 sequence, i64 time, fields
//! ```
//!
//! A marker of zero is the end, so a segment may be zeroed, and synced, ahead of need. The marker is random and the same in
//! a whole journal: a reader that meets damage looks for the next one, and a command cannot write what looks like a frame,
//! since it does not know it.
//!
//! `sequence` is that of the event; of a record that is no event, that of the last event before it. `time` is in
//! nanoseconds since 1970. The highest bits of a field's tag ([`fields`](super::fields)) and of `flags` say what a reader
//! that does not know a field, or a kind, may do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{
    error::Unsupported,
    fields::{Field, Fields, Malformed, put, put_bytes},
    reservation::MAX_DETAILS_BYTES,
};
use crate::lifecycle::output::MAX_OUTPUT_BYTES;

/// This version of the format.
pub const FORMAT_VERSION: u16 = 1;

/// The oldest version whose readers understand what this one writes.
const COMPATIBLE_VERSION: u16 = 1;

/// Bytes of a segment's header, as this version writes it.
pub(super) const HEADER_BYTES: usize = 256;

/// The part of the header that no version changes.
const FIXED_HEADER_BYTES: usize = 24;

/// A longer header is not believed.
pub(super) const MAX_HEADER_BYTES: usize = 4096;

/// Bytes before a frame's body.
pub(super) const FRAME_HEAD_BYTES: usize = 12;

/// Kind, flags, sequence, time.
pub(super) const BODY_HEAD_BYTES: usize = 18;

/// Bytes of a marker.
pub(super) const MARKER_BYTES: usize = 4;

/// A longer body is not believed: the largest are a reservation's details, with what goes with them.
pub(super) const MAX_BODY_BYTES: usize = MAX_DETAILS_BYTES + 2 * MAX_OUTPUT_BYTES;

/// The flag of a record that a reader which does not know its kind may skip.
pub(super) const SKIPPABLE: u8 = 0x01;

const MAGIC: [u8; 8] = *b"rmxjrnl\n";

/// The longest name of an execution.
pub const MAX_ID_BYTES: usize = 64;

/// What begins a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of it, after which the first frame comes.
    pub(super) length: usize,
    /// What begins each frame; never 0.
    pub(super) marker: u32,
    /// Whose journal it is.
    pub(super) id: String,
    /// 1 is the first segment.
    pub(super) ordinal: u64,
    /// What is synced.
    pub(super) sync: SyncMode,
    /// What came before.
    pub(super) base: Progress,
}

/// What of a journal is on disk, and not only in the kernel's memory, before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum SyncMode {
    /// Nothing: it survives a crash of remexd and of its supervisor, not one of the host.
    #[default]
    None,
    /// The reservation, so that nothing runs twice even then.
    Start,
    /// Every event.
    All,
}

impl SyncMode {
    fn number(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Start => 1,
            Self::All => 2,
        }
    }

    fn of(number: u64) -> Option<Self> {
        let all = [Self::None, Self::Start, Self::All];
        all.into_iter().find(|mode| mode.number() == number)
    }
}

/// How far an execution has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// The last event.
    pub(super) sequence: u64,
    /// Bytes of stdout, stderr and terminal.
    pub(super) positions: [u64; 3],
    /// stdin that has been accepted.
    pub(super) stdin_accepted: u64,
}

/// Why a header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Nothing was written there yet.
    Blank,
    /// Some of it is not what was written.
    Damaged,
    /// A later version wrote it.
    Unsupported(Unsupported),
}

impl Header {
    /// The header's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&COMPATIBLE_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&self.marker.to_le_bytes());
        put_bytes(&mut bytes, 1, self.id.as_bytes());
        put(&mut bytes, 2, self.ordinal);
        put(&mut bytes, 3, self.base.sequence);
        for (field, position) in (4..).zip(self.base.positions) {
            put(&mut bytes, field, position);
        }
        put(&mut bytes, 7, self.base.stdin_accepted);
        put(&mut bytes, 8, self.sync.number());
        let fields = bytes.len() - FIXED_HEADER_BYTES;
        bytes.resize(HEADER_BYTES, 0);
        set_u16(&mut bytes, 12, HEADER_BYTES);
        set_u16(&mut bytes, 14, fields);
        let sum = crc32c::crc32c(&bytes);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// What `bytes`, from a segment's beginning on, say.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let fixed = bytes.first_chunk::<FIXED_HEADER_BYTES>();
        let fixed = match fixed {
            _ if bytes.iter().all(|&byte| byte == 0) => return Err(BadHeader::Blank),
            Some(fixed) if fixed.starts_with(&MAGIC) => fixed,
            _ => return Err(BadHeader::Damaged),
        };
        let length = usize::from(u16_at(fixed, 12));
        let whole = bytes.get(..length).filter(|_| length <= MAX_HEADER_BYTES);
        let whole = whole.ok_or(BadHeader::Damaged)?;
        let (head, rest) = whole.split_at_checked(16).ok_or(BadHeader::Damaged)?;
        let rest = rest.get(4..).ok_or(BadHeader::Damaged)?;
        let sum = [head, &[0; 4], rest]
            .iter()
            .fold(0, |sum, part| crc32c::crc32c_append(sum, part));
        if sum != u32_at(fixed, 16) {
            return Err(BadHeader::Damaged);
        }
        if u16_at(fixed, 10) > FORMAT_VERSION {
            let version = u16_at(fixed, 8);
            return Err(BadHeader::Unsupported(Unsupported::Format(version)));
        }
        let mut header = Self {
            length,
            marker: u32_at(fixed, 20),
            id: String::new(),
            ordinal: 0,
            sync: SyncMode::None,
            base: Progress::default(),
        };
        let fields =
            whole.get(FIXED_HEADER_BYTES..FIXED_HEADER_BYTES + usize::from(u16_at(fixed, 14)));
        for field in Fields(fields.ok_or(BadHeader::Damaged)?) {
            header.set(&field.map_err(|Malformed| BadHeader::Damaged)?)?;
        }
        if header.marker == 0 || header.ordinal == 0 {
            return Err(BadHeader::Damaged);
        }
        Ok(header)
    }

    fn set(&mut self, field: &Field<'_>) -> Result<(), BadHeader> {
        let number = || field.number().map_err(|Malformed| BadHeader::Damaged);
        match field.number {
            1 => self.id = field.text().map_err(|Malformed| BadHeader::Damaged)?,
            2 => self.ordinal = number()?,
            3 => self.base.sequence = number()?,
            4..=6 => self.base.positions[usize::from(field.number) - 4] = number()?,
            7 => self.base.stdin_accepted = number()?,
            8 => {
                let value = number()?;
                let unsupported = Unsupported::Value {
                    kind: 0,
                    field: 8,
                    value,
                };
                let sync = SyncMode::of(value).ok_or(BadHeader::Unsupported(unsupported));
                self.sync = sync?;
            }
            other if field.is_needed => {
                return Err(BadHeader::Unsupported(Unsupported::Field {
                    kind: 0,
                    field: other,
                }));
            }
            _ => {}
        }
        Ok(())
    }
}

/// What is at a position of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Zeros: the end of what was written.
    End,
    /// So many bytes are needed to tell.
    Short(usize),
    /// A whole frame of so many bytes, whose sum is right.
    Frame(usize),
    /// No frame.
    Bad,
}

/// Looks at what `bytes` begin with.
pub(super) fn look(bytes: &[u8], marker: u32) -> Look {
    let Some(head) = bytes.first_chunk::<FRAME_HEAD_BYTES>() else {
        let begun = bytes.len().min(MARKER_BYTES);
        let is_end = begun == MARKER_BYTES && bytes[..begun] == [0; MARKER_BYTES];
        return if is_end {
            Look::End
        } else {
            Look::Short(FRAME_HEAD_BYTES)
        };
    };
    let length = u32_at(head, 4) as usize;
    match u32_at(head, 0) {
        0 => return Look::End,
        begun if begun != marker => return Look::Bad,
        _ if !(BODY_HEAD_BYTES..=MAX_BODY_BYTES).contains(&length) => return Look::Bad,
        _ => {}
    }
    let whole = FRAME_HEAD_BYTES + length;
    let Some(body) = bytes.get(FRAME_HEAD_BYTES..whole) else {
        return Look::Short(whole);
    };
    if sum(&head[..8], body, &[]) == u32_at(head, 8) {
        Look::Frame(whole)
    } else {
        Look::Bad
    }
}

/// Where `marker` is found first in `bytes`, from `from` on.
pub(super) fn find_marker(bytes: &[u8], from: usize, marker: u32) -> Option<usize> {
    let found = memchr::memmem::find(bytes.get(from..)?, &marker.to_le_bytes());
    found.map(|found| from + found)
}

/// The marker that `bytes`, from the first frame on, begin with, if they are a whole frame: of a segment whose header is
/// damaged.
pub(super) fn guess_marker(bytes: &[u8]) -> Option<u32> {
    let marker = u32::from_le_bytes(*bytes.first_chunk()?);
    matches!(look(bytes, marker), Look::Frame(_)).then_some(marker)
}

/// Begins a frame at the end of `to`; [`end_frame`] wants to know where.
pub(super) fn begin_frame(
    to: &mut Vec<u8>,
    (kind, flags): (u8, u8),
    sequence: u64,
    time: SystemTime,
) -> usize {
    let start = to.len();
    to.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
    to.extend_from_slice(&[kind, flags]);
    to.extend_from_slice(&sequence.to_le_bytes());
    to.extend_from_slice(&nanos(time).to_le_bytes());
    start
}

/// Ends the frame that begins at `start`, and whose last bytes, `tail`, are written from elsewhere.
pub(super) fn end_frame(to: &mut [u8], start: usize, marker: u32, tail: &[u8]) {
    let body = to.len() - start - FRAME_HEAD_BYTES + tail.len();
    let length = u32::try_from(body).unwrap_or(u32::MAX);
    let (head, body) = to[start..].split_at_mut(FRAME_HEAD_BYTES);
    head[..4].copy_from_slice(&marker.to_le_bytes());
    head[4..8].copy_from_slice(&length.to_le_bytes());
    let sum = sum(&head[..8], body, tail);
    head[8..].copy_from_slice(&sum.to_le_bytes());
}

fn sum(head: &[u8], body: &[u8], tail: &[u8]) -> u32 {
    let parts = [head, body, tail];
    parts
        .iter()
        .fold(0, |sum, part| crc32c::crc32c_append(sum, part))
}

/// `time` as it is stored: within 292 years of 1970.
pub(super) fn nanos(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |before| -before)
        }
    }
}

/// The time that was stored as `nanos`.
pub(super) fn time(nanos: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanos.unsigned_abs());
    let time = if nanos < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(UNIX_EPOCH)
}

fn set_u16(bytes: &mut [u8], at: usize, value: usize) {
    let value = u16::try_from(value).unwrap_or(u16::MAX);
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The name of a segment's file.
pub(super) fn segment_name(ordinal: u64) -> String {
    format!("segment-{ordinal:08}")
}

/// The ordinal of the segment whose file has that name.
pub(super) fn segment_ordinal(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("segment-")?;
    let ordinal = digits.parse().ok()?;
    (segment_name(ordinal) == name && ordinal > 0).then_some(ordinal)
}

/// Whether `id` can be an execution's: it is a folder's name.
pub fn is_valid_id(id: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(is_valid)
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;

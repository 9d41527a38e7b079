//! Run's answer as it is sent: one message, whose output leaves piece by piece, so that it is never there twice.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use remex::v1;
use remex_supervisor::lifecycle::output::begun_character;
use tonic::Status;

use super::{reply, status};
use crate::{
    attached::answer::{Answered, CAP_MARGIN, Capture, KeptPiece},
    budget::Share,
    execution::Execution,
};

/// Pieces up to this size are put together: a small answer is one.
const SMALL_BYTES: usize = 16 * 1024;

/// The fields of `RunResponse` that hold output.
mod tag {
    pub(super) const STDOUT_DATA: u32 = 3;
    pub(super) const STDERR_DATA: u32 = 4;
    pub(super) const STDOUT_TEXT: u32 = 5;
    pub(super) const STDERR_TEXT: u32 = 6;
}

/// The answer of an execution that has ended.
pub(super) fn of(
    execution: &Execution,
    answered: Answered,
    cap: usize,
    text: bool,
) -> Result<VecDeque<Bytes>, Status> {
    let Answered {
        collected,
        exit,
        lost,
    } = answered;
    status::complete(&exit)?;
    let stdout = captured(collected.stdout, cap, text);
    let stderr = captured(collected.stderr, cap, text);
    let response = v1::RunResponse {
        execution_id: execution.id.to_string(),
        exit: Some(reply::exit(&exit, lost)),
        stdout_bytes_total: stdout.total,
        stderr_bytes_total: stderr.total,
        stdout_truncated: stdout.truncated,
        stderr_truncated: stderr.truncated,
        ..v1::RunResponse::default()
    };
    frames(&response, stdout, stderr)
}

/// What is sent of one stream.
#[derive(Debug)]
struct Captured {
    pieces: Vec<KeptPiece>,
    is_text: bool,
    total: u64,
    truncated: bool,
}

/// The first `cap` bytes of a stream, as sent.
fn captured(capture: Capture, cap: usize, is_text: bool) -> Captured {
    let total = capture.total;
    let (pieces, truncated) = if is_text {
        text(capture, cap)
    } else {
        data(capture, cap)
    };
    Captured {
        pieces,
        is_text,
        total,
        truncated,
    }
}

fn data(capture: Capture, cap: usize) -> (Vec<KeptPiece>, bool) {
    let mut room = cap;
    let mut pieces = capture.pieces;
    for piece in &mut pieces {
        piece.bytes.truncate(room);
        room -= piece.bytes.len();
    }
    (pieces, capture.total > (cap - room) as u64)
}

/// The longest beginning that, with what is no UTF-8 replaced, has at most `cap` bytes, and for which there is memory; it ends
/// between characters. And whether anything was left out.
fn text(capture: Capture, cap: usize) -> (Vec<KeptPiece>, bool) {
    let truncated = capture.total > capture.kept() as u64;
    let mut room = cap;
    let mut texts = Vec::with_capacity(capture.pieces.len());
    let mut begun = Vec::new();
    let mut pieces = capture.pieces.into_iter().peekable();
    while let Some(KeptPiece { mut bytes, share }) = pieces.next() {
        bytes.splice(..0, begun.drain(..));
        let is_last = pieces.peek().is_none();
        if !is_last {
            begun = bytes.split_off(bytes.len() - begun_character(&bytes));
        }
        let (piece, cut) = text_piece(bytes, share, room, is_last && truncated);
        room -= piece.bytes.len();
        texts.push(piece);
        if cut {
            return (texts, true);
        }
    }
    (texts, truncated)
}

/// As [`text`], of one piece. `more` says that what followed was dropped.
fn text_piece(bytes: Vec<u8>, mut share: Share, room: usize, more: bool) -> (KeptPiece, bool) {
    let (mut text, mut cut) = match String::from_utf8(bytes) {
        Ok(text) if text.len() <= room => (text, more),
        Ok(text) => text_prefix(text.as_bytes(), room, more),
        Err(error) => text_prefix(error.as_bytes(), room, more),
    };
    // Replaced, what was no UTF-8 may be three times as long.
    share.grow(text.len().saturating_sub(share.bytes()));
    if text.len() > share.bytes() {
        text.truncate(text.floor_char_boundary(share.bytes()));
        cut = true;
    }
    let bytes = text.into_bytes();
    (KeptPiece { bytes, share }, cut)
}

/// The longest prefix of `bytes` that, with what is no UTF-8 replaced, has at most `cap` bytes and ends between
/// characters; and whether anything was left out. `more` says that bytes followed.
fn text_prefix(bytes: &[u8], cap: usize, more: bool) -> (String, bool) {
    let replacement = char::REPLACEMENT_CHARACTER;
    let mut text = String::with_capacity(bytes.len().min(cap));
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        let valid = chunk.valid();
        let room = cap - text.len();
        if valid.len() > room {
            text.push_str(&valid[..valid.floor_char_boundary(room)]);
            return (text, true);
        }
        text.push_str(valid);
        if chunk.invalid().is_empty() {
            continue;
        }
        let at_the_cut = more && chunks.peek().is_none() && chunk.invalid().len() <= CAP_MARGIN;
        if at_the_cut || text.len() + replacement.len_utf8() > cap {
            return (text, true);
        }
        text.push(replacement);
    }
    (text, more)
}

/// The bytes of one message as gRPC sends them, uncompressed: `message`, and the output of both streams as its fields.
fn frames(
    message: &v1::RunResponse,
    stdout: Captured,
    stderr: Captured,
) -> Result<VecDeque<Bytes>, Status> {
    let tags = |captured: &Captured, data, text| if captured.is_text { text } else { data };
    let stdout = Field::new(
        tags(&stdout, tag::STDOUT_DATA, tag::STDOUT_TEXT),
        stdout.pieces,
    );
    let stderr = Field::new(
        tags(&stderr, tag::STDERR_DATA, tag::STDERR_TEXT),
        stderr.pieces,
    );
    let length = message.encoded_len() + stdout.encoded_len() + stderr.encoded_len();
    let length = u32::try_from(length).map_err(|_| Status::internal("an answer beyond 4 GiB"))?;
    let mut frames = Frames::default();
    // Not compressed.
    frames.small.put_u8(0);
    frames.small.put_u32(length);
    message.encode_raw(&mut frames.small);
    for field in [stdout, stderr] {
        field.put(&mut frames);
    }
    Ok(frames.end())
}

/// A field with output.
struct Field {
    tag: u32,
    pieces: Vec<KeptPiece>,
    length: u64,
}

impl Field {
    fn new(tag: u32, pieces: Vec<KeptPiece>) -> Self {
        let length = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
        Self {
            tag,
            pieces,
            length,
        }
    }

    fn encoded_len(&self) -> usize {
        if self.length == 0 {
            return 0;
        }
        let pieces: usize = self.pieces.iter().map(|piece| piece.bytes.len()).sum();
        key_len(self.tag) + encoded_len_varint(self.length) + pieces
    }

    fn put(self, frames: &mut Frames) {
        // As everywhere in proto3, what is empty is not there.
        if self.length == 0 {
            return;
        }
        encode_key(self.tag, WireType::LengthDelimited, &mut frames.small);
        encode_varint(self.length, &mut frames.small);
        for piece in self.pieces {
            frames.put(piece);
        }
    }
}

/// What is to be sent.
#[derive(Default)]
struct Frames {
    whole: VecDeque<Bytes>,
    /// What comes behind that.
    small: BytesMut,
    share: Option<Share>,
}

impl Frames {
    fn put(&mut self, piece: KeptPiece) {
        if piece.bytes.len() > SMALL_BYTES {
            self.flush();
            self.whole.push_back(Bytes::from_owner(Owned {
                bytes: piece.bytes,
                _share: Some(piece.share),
            }));
            return;
        }
        self.small.put_slice(&piece.bytes);
        match &mut self.share {
            Some(share) => share.absorb(piece.share),
            None => self.share = Some(piece.share),
        }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.whole.push_back(Bytes::from_owner(Owned {
                bytes: self.small.split(),
                _share: self.share.take(),
            }));
        }
    }

    fn end(mut self) -> VecDeque<Bytes> {
        self.flush();
        self.whole
    }
}

/// Bytes that have their memory until they are dropped.
struct Owned<B> {
    bytes: B,
    _share: Option<Share>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Owned<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;

    /// The message that `frames` are.
    fn message(frames: VecDeque<Bytes>) -> v1::RunResponse {
        const HEADER: usize = 5;
        let bytes = Vec::from(frames).concat();
        v1::RunResponse::decode(&bytes[HEADER..]).unwrap()
    }

    fn capture(budget: &Budget, pieces: &[&[u8]], total: u64) -> Capture {
        let piece = |bytes: &&[u8]| {
            let mut share = budget.share();
            share.grow(bytes.len());
            let bytes = bytes.to_vec();
            KeptPiece { bytes, share }
        };
        Capture {
            pieces: pieces.iter().map(piece).collect(),
            total,
            ..Capture::default()
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        for (bytes, cap, more, expected, cut) in [
            (&b"abc"[..], 3, false, "abc", false),
            (b"abcd", 3, false, "abc", true),
            ("a€".as_bytes(), 3, false, "a", true),
            ("a€".as_bytes(), 4, false, "a€", false),
            (b"a\xff", 4, false, "a\u{fffd}", false),
            (b"a\xff", 3, false, "a", true),
            (b"a\xe2\x82", 9, false, "a\u{fffd}", false),
            (b"a\xe2\x82", 9, true, "a", true),
            (b"abc", 3, true, "abc", true),
            (b"", 0, false, "", false),
            (b"\xff\xff\xff", 5, false, "\u{fffd}", true),
        ] {
            // Wherever one piece ends and the next begins.
            for at in 0..=bytes.len() {
                let budget = Budget::new(100);
                let total = bytes.len() as u64 + u64::from(more);
                let (one, two) = bytes.split_at(at);
                let pieces: Vec<_> = [one, two]
                    .into_iter()
                    .filter(|piece| !piece.is_empty())
                    .collect();
                let (pieces, was_cut) = text(capture(&budget, &pieces, total), cap);
                let text: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
                let text = String::from_utf8(text).unwrap();
                assert_eq!(
                    (&*text, was_cut),
                    (expected, cut),
                    "{bytes:?} {cap} {more} {at}"
                );
            }
        }
    }

    #[test]
    fn text_takes_no_more_than_there_is() {
        let budget = Budget::new(8);
        let (pieces, cut) = text(capture(&budget, &[b"\xff\xff\xff"], 3), 100);
        assert_eq!(pieces[0].bytes, "\u{fffd}\u{fffd}".as_bytes());
        assert!(cut);
        assert_eq!(budget.free(), 0);
    }

    #[test]
    fn frames_are_the_message_that_prost_would_make() {
        let budget = Budget::new(usize::MAX);
        let large = vec![b'x'; SMALL_BYTES + 1];
        for (is_text, pieces) in [
            (false, vec![]),
            (false, vec![&b"abc"[..]]),
            (true, vec![&b"abc"[..]]),
            (true, vec![&large[..], &large, b"abc"]),
            (false, vec![&large[..], &large, b"abc"]),
        ] {
            let total = pieces.iter().map(|piece| piece.len() as u64).sum();
            let whole = pieces.concat();
            let made = || captured(capture(&budget, &pieces, total), usize::MAX, is_text);
            let head = v1::RunResponse {
                execution_id: "id".to_owned(),
                stdout_bytes_total: total,
                ..v1::RunResponse::default()
            };
            let frames = frames(&head, made(), made()).unwrap();
            let length: usize = frames.iter().map(Bytes::len).sum();
            assert_eq!(frames.len(), if whole.len() > SMALL_BYTES { 7 } else { 1 });
            assert_eq!(budget.free(), usize::MAX - 2 * whole.len());
            let first: [u8; 5] = frames[0][..5].try_into().unwrap();
            assert_eq!(first[0], 0);
            assert_eq!(
                u32::from_be_bytes(first[1..].try_into().unwrap()) as usize,
                length - 5
            );
            let text = if is_text {
                String::from_utf8(whole.clone()).unwrap()
            } else {
                String::new()
            };
            let data = if is_text { Bytes::new() } else { whole.into() };
            let expected = v1::RunResponse {
                stdout_data: data.clone(),
                stderr_data: data,
                stdout_text: text.clone(),
                stderr_text: text,
                ..head
            };
            assert_eq!(message(frames), expected);
            assert_eq!(budget.free(), usize::MAX);
        }
    }
}

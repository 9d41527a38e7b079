//! What must hold of any bytes that a client sends: for the fuzz target, and for the ordinary test that replays its seeds.

use encoding_rs::{BIG5, Encoding, GB18030, GBK, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_1252};
use jiff::{Timestamp, tz::TimeZone};
use remex_gateway::{
    limits::MOST_TIME_BYTES,
    wire::{
        Foreign, Guard, Verdict, foreign,
        request::{self, Refusal, Request},
        segment::{Arrival, Segments, arrival},
        time,
    },
};

const CHARSETS: [&Encoding; 7] = [
    UTF_8,
    GBK,
    GB18030,
    BIG5,
    SHIFT_JIS,
    ISO_2022_JP,
    WINDOWS_1252,
];
/// Short, so that what is too long is found soon.
const LIMIT: usize = 256;
/// From here on a piece waits whatever its method.
const LONG_PIECE_BYTES: usize = 1024;

/// The request side of every wire: the first byte chooses the charset, the next two what the kernel says of segments, the
/// rest is what a client sends.
pub(crate) fn check(input: &[u8]) {
    let [charset, rcv_mss, snd_mss, bytes @ ..] = input else {
        return;
    };
    let charset = CHARSETS[usize::from(*charset) % CHARSETS.len()];
    segments(bytes.len(), u32::from(*rcv_mss), u32::from(*snd_mss));
    for end in 0..=bytes.len().min(2 * LIMIT) {
        parsed(&bytes[..end], charset);
    }
    parsed(bytes, charset);
    cut(bytes, *rcv_mss);
    told(bytes);
}

fn segments(len: usize, rcv_mss: u32, snd_mss: u32) {
    for loopback in [false, true] {
        let segments = Segments {
            rcv_mss,
            snd_mss,
            total_retrans: snd_mss % 2,
            loopback,
        };
        // Waiting is for whole segments alone, or each command would take a second.
        if arrival(len, segments) != Arrival::Complete {
            assert!(rcv_mss > 0 && len.is_multiple_of(rcv_mss as usize));
        }
    }
}

fn parsed(bytes: &[u8], charset: &'static Encoding) {
    match request::parse(bytes, charset, LIMIT) {
        Ok(Request::Command(text)) => {
            assert!(!text.contains('\0') && !text.trim_ascii().is_empty());
            assert!(!text.contains("\r\n") && !text.starts_with('\u{feff}'));
            assert!(bytes.len() <= request::most_bytes(LIMIT));
        }
        Ok(Request::Blank) => {}
        Err(Refusal::TooLong { limit }) => assert!(bytes.len() > limit),
        Err(Refusal::Nul) => assert!(bytes.contains(&0)),
        Err(Refusal::NotUtf8 | Refusal::Undecodable { .. }) => {
            assert!(str::from_utf8(bytes).is_err());
        }
    }
}

/// Whatever is refused when it comes whole is refused in pieces too: cut at every byte, and where `random` says.
fn cut(bytes: &[u8], random: u8) {
    if foreign(bytes).is_none() {
        return;
    }
    for at in 1..bytes.len() {
        let (one, two) = bytes.split_at(at);
        nothing_of_it_runs(&[one, two], bytes);
    }
    let mut pieces = Vec::new();
    let (mut rest, mut state) = (bytes, u32::from(random));
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 16) as usize % 5_000;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    nothing_of_it_runs(&pieces, bytes);
    let single: Vec<_> = bytes.chunks(1).collect();
    nothing_of_it_runs(&single, bytes);
}

/// As a connection asks its guard. Each piece comes in time, so it is added to what waits.
fn nothing_of_it_runs(pieces: &[&[u8]], whole: &[u8]) {
    let mut guard = Guard::default();
    let mut pending = Vec::new();
    let mut ran_bytes = 0;
    for piece in pieces {
        pending.extend_from_slice(piece);
        match guard.judge(&pending) {
            Verdict::Foreign(_) => return,
            Verdict::Piece => {}
            Verdict::Clear => {
                // A beginning that is a command by itself, such as `ls /tmp`, cannot wait; what has no such method or is long does.
                assert!(pending.len() < LONG_PIECE_BYTES, "a long piece ran");
                assert!(is_command(&pending, whole), "{}", pending.escape_ascii());
                ran_bytes += pending.len();
                assert!(!whole[..ran_bytes].trim_ascii_start().contains(&b'\n'));
                pending.clear();
                guard.next();
            }
        }
    }
    panic!("{} was not refused in pieces", whole.escape_ascii());
}

/// Whether a beginning of a request may run: the request is HTTP's, with a method that might be a program.
fn is_command(pending: &[u8], whole: &[u8]) -> bool {
    let blank = pending
        .iter()
        .all(|byte| b"\r\n\xef\xbb\xbf".contains(byte));
    let start = whole
        .iter()
        .position(|byte| !b"\r\n\xef\xbb\xbf".contains(byte));
    let line = &whole[start.unwrap_or(0)..];
    let known = [
        &b"GET "[..],
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"CONNECT ",
        b"OPTIONS ",
        b"TRACE ",
        b"PATCH ",
    ];
    let known = known.iter().any(|method| line.starts_with(method));
    blank || (!known && foreign(whole) == Some(Foreign::Http1))
}

fn told(bytes: &[u8]) {
    let Ok(format) = str::from_utf8(bytes) else {
        return;
    };
    let now = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    assert!(time::format(format, &now).len() <= MOST_TIME_BYTES);
}

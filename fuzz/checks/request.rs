//! What must hold of any bytes that a client sends: for the fuzz target, and for the ordinary test that replays its seeds.

use encoding_rs::{BIG5, Encoding, GB18030, GBK, ISO_2022_JP, SHIFT_JIS, UTF_8, WINDOWS_1252};
use jiff::{Timestamp, tz::TimeZone};
use remex_gateway::wire::{
    foreign,
    request::{self, Refusal, Request},
    segment::{Arrival, Segments, arrival},
    time,
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
            assert!(foreign(bytes).is_none());
            assert!(!text.contains('\0') && !text.trim_ascii().is_empty());
            assert!(bytes.len() <= request::most_bytes(LIMIT));
        }
        Ok(Request::Blank) => assert!(foreign(bytes).is_none()),
        Err(Refusal::CrossProtocol(other)) => assert_eq!(foreign(bytes), Some(other)),
        Err(Refusal::TooLong { limit }) => assert!(bytes.len() > limit),
        Err(Refusal::Nul) => assert!(bytes.contains(&0)),
        Err(Refusal::Undecodable { .. }) => assert!(str::from_utf8(bytes).is_err()),
    }
}

fn told(bytes: &[u8]) {
    let Ok(format) = str::from_utf8(bytes) else {
        return;
    };
    let now = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    assert!(time::format(format, &now).len() <= time::MOST_REPLY_BYTES);
}

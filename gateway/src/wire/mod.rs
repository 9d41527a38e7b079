//! The old wires, as pure functions of bytes: how a request is read ([`segment`], [`request`]) and how a reply is laid out
//! (one file a wire). Nothing here does I/O.

mod ascii_length;
mod charset;
mod cut;
mod ending;
mod guard;
mod json_header;
mod length;
pub mod request;
pub mod segment;
pub mod time;
mod transcode;

use bytes::Bytes;

pub use self::{
    charset::Charset,
    cut::{boundary, cut_note, kept},
    ending::{Cause, Ending},
    guard::{Foreign, Guard, Verdict, foreign},
    json_header::{DEFAULT_SIZE_KEY, FIXED_KEYS, last_word},
    transcode::{Transcoder, encode},
};

/// How the replies of a stream (TCP, Unix socket) are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// int32 length of a JSON header, the header, the body.
    JsonHeader {
        /// The header's key for the body's size.
        size_key: String,
        /// Byte order of the length.
        endian: Endian,
        /// What the header's `filename` is.
        filename: Filename,
    },
    /// int32 length of the body, the body.
    Length {
        /// Byte order of the length.
        endian: Endian,
    },
    /// Decimal length of the body as a segment of its own, then the body.
    AsciiLength {
        /// What stands between the two.
        ack: Ack,
    },
    /// The body.
    Raw {
        /// The byte behind it, for clients that look for one.
        reply_end: Option<u8>,
    },
}

/// What the header's `filename` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filename {
    /// Always the same.
    Fixed,
    /// The last word of the command: clients that fetch files save them under it.
    LastWord,
}

/// Byte order of an int32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endian {
    /// As `struct.pack('i')` has it on every common machine.
    Little,
    /// Network order.
    Big,
}

impl Endian {
    fn int32(self, number: i32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// How a client keeps the length and the body apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ack {
    /// It acknowledges the length, with any text.
    Wait,
    /// It sends nothing and counts on a pause.
    Pause,
}

/// What a reply says of its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of stdout in the body.
    pub stdout_bytes: u64,
    /// Bytes after them: stderr, and what the gateway itself has to say.
    pub stderr_bytes: u64,
    /// Of the body as sent; all zero on wires that do not carry it.
    pub md5: [u8; 16],
    /// How the command ended.
    pub ending: Ending,
    /// Some of the output is missing.
    pub truncated: bool,
    /// What the client may call the body; `None`: the usual.
    pub filename: Option<String>,
    /// The server's id of what ran; empty if nothing did.
    pub execution_id: String,
}

impl Summary {
    /// Bytes of the body.
    pub fn body_bytes(&self) -> u64 {
        self.stdout_bytes + self.stderr_bytes
    }
}

/// What goes before a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The bytes.
    pub bytes: Bytes,
    /// What comes between them and the body.
    pub then: Then,
}

/// What comes between head and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: they are handed to the socket at once.
    Body,
    /// An acknowledgement by the client.
    Ack,
    /// A pause.
    Pause,
}

impl Wire {
    /// Lays out what goes before the body.
    pub fn head(&self, summary: &Summary) -> Head {
        match self {
            Self::JsonHeader {
                size_key, endian, ..
            } => json_header::head(size_key, *endian, summary),
            Self::Length { endian } => length::head(*endian, summary),
            Self::AsciiLength { ack } => ascii_length::head(*ack, summary),
            Self::Raw { .. } => Head {
                bytes: Bytes::new(),
                then: Then::Body,
            },
        }
    }

    /// Whether the digest of the body is part of a reply.
    pub fn has_digest(&self) -> bool {
        matches!(self, Self::JsonHeader { .. })
    }

    /// Whether an empty reply would leave the client waiting for ever.
    pub fn needs_body(&self) -> bool {
        matches!(self, Self::Raw { .. })
    }

    /// Whether a reply says how its command ended, beside its body.
    pub fn tells_status(&self) -> bool {
        matches!(self, Self::JsonHeader { .. })
    }

    /// Whether a reply is named after its command's last word.
    pub fn names_last_word(&self) -> bool {
        matches!(
            self,
            Self::JsonHeader {
                filename: Filename::LastWord,
                ..
            }
        )
    }

    /// What stands behind the body.
    pub fn tail(&self) -> Option<u8> {
        match self {
            Self::Raw { reply_end } => *reply_end,
            Self::JsonHeader { .. } | Self::Length { .. } | Self::AsciiLength { .. } => None,
        }
    }

    /// The longest body that a reply can announce.
    pub fn most_body_bytes(&self) -> u64 {
        match self {
            Self::Length { .. } => length::MOST_BODY_BYTES,
            Self::JsonHeader { .. } | Self::AsciiLength { .. } | Self::Raw { .. } => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind, and what is asked of it.
    fn wires() -> [Wire; 5] {
        [
            json_header(Filename::Fixed),
            Wire::Length {
                endian: Endian::Big,
            },
            Wire::AsciiLength { ack: Ack::Pause },
            Wire::Raw { reply_end: None },
            Wire::Raw {
                reply_end: Some(0x04),
            },
        ]
    }

    fn json_header(filename: Filename) -> Wire {
        Wire::JsonHeader {
            size_key: "size".to_owned(),
            endian: Endian::Big,
            filename,
        }
    }

    #[test]
    fn a_head_is_its_wires() {
        let summary = Summary {
            stdout_bytes: 260,
            stderr_bytes: 3,
            ..Summary::default()
        };
        let [json, length, ascii_length, raw, ended] = wires().map(|wire| wire.head(&summary));
        assert!(json.bytes[4..].starts_with(br#"{"size": 263, "#));
        assert_eq!(json.then, Then::Body);
        assert_eq!(
            (&length.bytes[..], length.then),
            (&[0, 0, 1, 7][..], Then::Body)
        );
        assert_eq!(
            (&ascii_length.bytes[..], ascii_length.then),
            (&b"263"[..], Then::Pause)
        );
        for raw in [raw, ended] {
            assert_eq!((&raw.bytes[..], raw.then), (&b""[..], Then::Body));
        }
    }

    #[test]
    fn only_a_json_header_carries_more_than_a_length() {
        let json = [true, false, false, false, false];
        assert_eq!(wires().map(|wire| wire.has_digest()), json);
        assert_eq!(wires().map(|wire| wire.tells_status()), json);
        assert!(json_header(Filename::LastWord).names_last_word());
        assert_eq!(wires().map(|wire| wire.names_last_word()), [false; 5]);
    }

    #[test]
    fn only_raw_needs_a_body_and_may_have_a_tail() {
        let raw = [false, false, false, true, true];
        assert_eq!(wires().map(|wire| wire.needs_body()), raw);
        let tails = [None, None, None, None, Some(0x04)];
        assert_eq!(wires().map(|wire| wire.tail()), tails);
    }

    #[test]
    fn only_an_int32_bounds_a_body() {
        let most = [u64::MAX, 2_147_483_647, u64::MAX, u64::MAX, u64::MAX];
        assert_eq!(wires().map(|wire| wire.most_body_bytes()), most);
    }
}

//! The old wires, as pure functions of bytes: how a request is read ([`segment`], [`request`]) and how a reply is laid out
//! (one file a [`Wire`]). Nothing here does I/O.

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
use remex_client::wire::Wire;

pub use self::{
    ascii_length::Acknowledgement,
    charset::Charset,
    cut::{boundary, cut_note, kept},
    ending::{Cause, Ending},
    guard::{Foreign, Guard, Verdict, foreign},
    json_header::last_word,
    transcode::{Transcoder, encode},
};

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

/// Lays out what goes before the body.
pub fn head(wire: &Wire, summary: &Summary) -> Head {
    match wire {
        Wire::JsonHeader {
            size_key, endian, ..
        } => json_header::head(size_key.as_deref(), *endian, summary),
        Wire::Length { endian } => length::head(*endian, summary),
        Wire::AsciiLength { ack } => ascii_length::head(*ack, summary),
        Wire::Raw { .. } => Head {
            bytes: Bytes::new(),
            then: Then::Body,
        },
    }
}

#[cfg(test)]
mod tests {
    use remex_client::wire::{Ack, Endian, Filename};

    use super::*;

    #[test]
    fn a_head_is_its_wires() {
        let summary = Summary {
            stdout_bytes: 260,
            stderr_bytes: 3,
            ..Summary::default()
        };
        let json = Wire::JsonHeader {
            size_key: Some("size".to_owned()),
            endian: Endian::Big,
            filename: Filename::Fixed,
        };
        let json = head(&json, &summary);
        assert!(json.bytes[4..].starts_with(br#"{"size": 263, "#));
        assert_eq!(json.then, Then::Body);
        for (wire, bytes, then) in [
            (
                Wire::Length {
                    endian: Endian::Big,
                },
                &[0, 0, 1, 7][..],
                Then::Body,
            ),
            (Wire::AsciiLength { ack: Ack::Pause }, b"263", Then::Pause),
            (Wire::AsciiLength { ack: Ack::Wait }, b"263", Then::Ack),
            (Wire::Raw { reply_end: None }, b"", Then::Body),
            (
                Wire::Raw {
                    reply_end: Some(0x04),
                },
                b"",
                Then::Body,
            ),
        ] {
            let head = head(&wire, &summary);
            assert_eq!((&head.bytes[..], head.then), (bytes, then), "{wire:?}");
        }
    }
}

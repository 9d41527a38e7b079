//! `ascii-length`: the body's length in decimal as a segment of its own, then, after an acknowledgement or a pause, the
//! body. A client whose body is empty has nothing to wait for: its acknowledgement and its next command may come at once, and
//! only the text that it acknowledges with tells them apart. Pure.

use bytes::Bytes;
use remex_client::wire::Ack;

use super::{Head, Summary, Then};

pub(super) fn head(ack: Ack, summary: &Summary) -> Head {
    Head {
        bytes: Bytes::from(summary.body_bytes().to_string()),
        then: match ack {
            Ack::Wait => Then::Ack,
            Ack::Pause => Then::Pause,
        },
    }
}

/// A longer text is not remembered; those that are known have some ten bytes.
const MOST_KNOWN_BYTES: usize = 256;

/// What one client acknowledges with, once that is known.
#[derive(Debug, Default)]
pub struct Acknowledgement {
    known: Option<Box<[u8]>>,
}

impl Acknowledgement {
    /// How much of `arrived` acknowledges the length of a body of `body_bytes`: all of it, but where the client did not have to
    /// wait for that body and what it acknowledged with before is only the beginning.
    pub fn bytes(&mut self, arrived: &[u8], body_bytes: u64) -> usize {
        if body_bytes > 0 {
            if self.known.is_none() && arrived.len() <= MOST_KNOWN_BYTES {
                self.known = Some(arrived.into());
            }
            return arrived.len();
        }
        match &self.known {
            Some(known) if arrived.starts_with(known) => known.len(),
            _ => arrived.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_acknowledgement_ends_where_the_next_command_begins() {
        let mut acknowledgement = Acknowledgement::default();
        // Nobody knows yet.
        assert_eq!(acknowledgement.bytes(b"readyls", 0), 7);
        assert_eq!(acknowledgement.bytes(b"ready", 5), 5);
        for (arrived, bytes) in [
            (&b"ready"[..], 5),
            (b"readyls", 5),
            (b"readyreadyls", 5),
            (b"rea", 3),
            (b"other", 5),
        ] {
            assert_eq!(acknowledgement.bytes(arrived, 0), bytes);
            // A client that waits for its body sends nothing behind.
            assert_eq!(acknowledgement.bytes(arrived, 1), arrived.len());
        }
    }

    #[test]
    fn a_long_acknowledgement_is_not_remembered() {
        for (bytes, known) in [(MOST_KNOWN_BYTES, true), (MOST_KNOWN_BYTES + 1, false)] {
            let mut acknowledgement = Acknowledgement::default();
            let text = vec![b'x'; bytes];
            acknowledgement.bytes(&text, 1);
            let more = [&text[..], b"ls"].concat();
            let expected = if known { bytes } else { bytes + 2 };
            assert_eq!(acknowledgement.bytes(&more, 0), expected);
        }
    }

    #[test]
    fn the_length_is_decimal_and_alone() {
        let summary = Summary {
            stdout_bytes: 1000,
            stderr_bytes: 24,
            ..Summary::default()
        };
        for (ack, then) in [(Ack::Wait, Then::Ack), (Ack::Pause, Then::Pause)] {
            let head = head(ack, &summary);
            assert_eq!((&head.bytes[..], head.then), (&b"1024"[..], then));
        }
        let nothing = head(Ack::Wait, &Summary::default());
        assert_eq!((&nothing.bytes[..], nothing.then), (&b"0"[..], Then::Ack));
    }
}

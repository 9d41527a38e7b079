//! `ascii-length`: the body's length in decimal as a segment of its own, then, after an acknowledgement or a pause, the
//! body. Pure.

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

#[cfg(test)]
mod tests {
    use super::*;

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

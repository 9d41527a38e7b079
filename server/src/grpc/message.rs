//! Where one message of gRPC ends and the next begins in a request's bytes. Pure.

/// A flag and a length.
const HEADER: usize = 5;

/// What has arrived of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    /// Whole messages, or nothing yet.
    Whole,
    /// Part of the five bytes that begin one.
    Header,
    /// Part of a message, whose length is known.
    Part,
}

/// Follows a request's messages.
#[derive(Debug, Default)]
pub(super) struct Messages {
    header: [u8; HEADER],
    /// Bytes of the header that have arrived.
    filled: usize,
    /// Bytes of the message that have not.
    missing: usize,
    length: usize,
    compressed: bool,
    seen: usize,
}

impl Messages {
    /// Takes in further bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing > 0 {
                let taken = self.missing.min(bytes.len());
                self.missing -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (HEADER - self.filled).min(bytes.len());
            self.header[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEADER {
                self.begin();
            }
        }
    }

    fn begin(&mut self) {
        let [flag, length @ ..] = self.header;
        // 32 bits, which a length of 64 holds.
        self.length = u32::from_be_bytes(length) as usize;
        self.compressed = flag != 0;
        self.missing = self.length;
        self.filled = 0;
        self.seen += 1;
    }

    pub(super) fn arrived(&self) -> Arrived {
        match (self.missing, self.filled) {
            (0, 0) => Arrived::Whole,
            (0, _) => Arrived::Header,
            _ => Arrived::Part,
        }
    }

    /// How many have begun.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// What the last message that has begun takes in memory, which is `most` if it is compressed or longer.
    pub(super) fn cost(&self, most: usize) -> usize {
        if self.compressed {
            return most;
        }
        self.length.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flag: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![flag, 0, 0, 0, length];
        bytes.extend(vec![b'x'; length.into()]);
        bytes
    }

    #[test]
    fn every_cut_is_followed() {
        let bytes = [message(0, 3), message(0, 0), message(1, 7)].concat();
        for cut in 0..=bytes.len() {
            let mut messages = Messages::default();
            messages.take(&bytes[..cut]);
            let (arrived, seen) = match cut {
                0 => (Arrived::Whole, 0),
                1..=4 => (Arrived::Header, 0),
                5..=7 => (Arrived::Part, 1),
                8 => (Arrived::Whole, 1),
                9..=12 => (Arrived::Header, 1),
                13 => (Arrived::Whole, 2),
                14..=17 => (Arrived::Header, 2),
                18..=24 => (Arrived::Part, 3),
                _ => (Arrived::Whole, 3),
            };
            assert_eq!(
                (messages.arrived(), messages.seen()),
                (arrived, seen),
                "{cut}"
            );
            messages.take(&bytes[cut..]);
            assert_eq!((messages.arrived(), messages.seen()), (Arrived::Whole, 3));
        }
    }

    #[test]
    fn what_unpacks_may_take_the_most_there_is() {
        let mut messages = Messages::default();
        messages.take(&message(0, 9));
        assert_eq!(messages.cost(100), 9);
        assert_eq!(messages.cost(5), 5);
        messages.take(&message(1, 9));
        assert_eq!(messages.cost(100), 100);
    }
}

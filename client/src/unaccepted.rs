//! What was read of stdin and is not yet accepted, to be sent again over another connection, from the exact byte. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bounded by the window of the stdin that fills it.
#[derive(Debug)]
pub(crate) struct Unaccepted {
    /// Position of the first byte that is kept.
    begin: u64,
    pieces: VecDeque<Bytes>,
    /// How many of them were sent over this connection.
    sent: usize,
    end: End,
}

/// Where the end of stdin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    ToSend,
    Sent,
}

/// A piece of stdin to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    /// stdin ends with it.
    pub(crate) eof: bool,
}

impl Unaccepted {
    /// From the position `begin` on.
    pub(crate) fn from(begin: u64) -> Self {
        Self {
            begin,
            pieces: VecDeque::new(),
            sent: 0,
            end: End::Open,
        }
    }

    /// Adds what was read.
    pub(crate) fn push(&mut self, data: Bytes) {
        self.pieces.push_back(data);
    }

    /// No more will be read.
    pub(crate) fn end(&mut self) {
        if self.end == End::Open {
            self.end = End::ToSend;
        }
    }

    /// What is to be sent next over this connection.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        if let Some(data) = self.pieces.get(self.sent) {
            let (offset, data) = (self.offset_of(self.sent), data.clone());
            self.sent += 1;
            let eof = false;
            return Some(Piece { offset, data, eof });
        }
        if self.end != End::ToSend {
            return None;
        }
        self.end = End::Sent;
        Some(Piece {
            offset: self.offset_of(self.sent),
            data: Bytes::new(),
            eof: true,
        })
    }

    /// Forgets what the server has accepted.
    pub(crate) fn accepted(&mut self, position: u64) {
        while let Some(piece) = self.pieces.front() {
            let end = self.begin + piece.len() as u64;
            if end > position {
                break;
            }
            self.begin = end;
            self.pieces.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Over another connection, all of it is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
        if self.end == End::Sent {
            self.end = End::ToSend;
        }
    }

    fn offset_of(&self, index: usize) -> u64 {
        let before = self.pieces.iter().take(index);
        self.begin + before.map(|piece| piece.len() as u64).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, data: &'static str, eof: bool) -> Piece {
        let data = data.into();
        Piece { offset, data, eof }
    }

    #[test]
    fn what_is_not_accepted_is_sent_again_at_its_position() {
        let mut stdin = Unaccepted::from(10);
        stdin.push("abc".into());
        stdin.push("de".into());
        assert_eq!(stdin.next(), Some(piece(10, "abc", false)));
        assert_eq!(stdin.next(), Some(piece(13, "de", false)));
        assert_eq!(stdin.next(), None);
        // In the middle of a piece, whose beginning the server drops.
        stdin.accepted(11);
        stdin.rewind();
        assert_eq!(stdin.next(), Some(piece(10, "abc", false)));
        stdin.accepted(13);
        stdin.push("f".into());
        assert_eq!(stdin.next(), Some(piece(13, "de", false)));
        assert_eq!(stdin.next(), Some(piece(15, "f", false)));
        stdin.accepted(16);
        stdin.rewind();
        assert_eq!(stdin.next(), None);
    }

    #[test]
    fn the_end_is_said_once_a_connection() {
        let mut stdin = Unaccepted::from(0);
        stdin.push("a".into());
        stdin.end();
        for _ in 0..2 {
            assert_eq!(stdin.next(), Some(piece(0, "a", false)));
            assert_eq!(stdin.next(), Some(piece(1, "", true)));
            assert_eq!(stdin.next(), None);
            stdin.rewind();
        }
        // A typed end takes a position of its own.
        stdin.accepted(2);
        assert_eq!(stdin.next(), Some(piece(1, "", true)));
    }
}

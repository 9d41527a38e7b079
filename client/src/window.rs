//! How much stdin may be on its way: what was sent and is not yet accepted stays so small that it never fills the
//! call's flow-control window, so signals and window sizes always get through. Pure.

use std::collections::VecDeque;

/// Bytes sent and not accepted, at most.
pub const STDIN_WINDOW_BYTES: u64 = 256 << 10;
/// Chunks sent and not accepted, at most: one-byte chunks cost far more than their byte.
pub const STDIN_WINDOW_CHUNKS: usize = 1024;
/// Bytes in one chunk, at most.
pub const STDIN_CHUNK_BYTES: u64 = 64 << 10;

/// The account of one stdin.
#[derive(Debug)]
pub(crate) struct Window {
    sent: u64,
    accepted: u64,
    /// Where each chunk on its way ends.
    ends: VecDeque<u64>,
}

impl Window {
    /// With `sent` bytes on their way already.
    pub(crate) fn new(sent: u64) -> Self {
        let (accepted, ends) = (0, VecDeque::new());
        Self {
            sent,
            accepted,
            ends,
        }
    }

    /// How large the next chunk may be; 0: it must wait.
    pub(crate) fn room(&self) -> usize {
        if self.ends.len() >= STDIN_WINDOW_CHUNKS {
            return 0;
        }
        let on_the_way = self.sent.saturating_sub(self.accepted);
        let room = STDIN_WINDOW_BYTES.saturating_sub(on_the_way);
        usize::try_from(room.min(STDIN_CHUNK_BYTES)).unwrap_or(0)
    }

    /// Notes that a chunk went out.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        self.ends.push_back(self.sent);
    }

    /// Notes the server's position.
    pub(crate) fn accepted(&mut self, position: u64) {
        self.accepted = self.accepted.max(position);
        while self.ends.front().is_some_and(|&end| end <= self.accepted) {
            self.ends.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_on_the_way_are_bounded() {
        let mut window = Window::new(0);
        let mut sent = 0;
        while window.room() > 0 {
            let chunk = window.room();
            assert!(chunk as u64 <= STDIN_CHUNK_BYTES);
            window.sent(chunk);
            sent += chunk as u64;
        }
        assert_eq!(sent, STDIN_WINDOW_BYTES);
        window.accepted(1);
        assert_eq!(window.room(), 1);
    }

    #[test]
    fn chunks_on_the_way_are_bounded() {
        let mut window = Window::new(0);
        for _ in 0..STDIN_WINDOW_CHUNKS {
            assert!(window.room() > 0);
            window.sent(1);
        }
        assert_eq!(window.room(), 0);
        window.accepted(1);
        assert!(window.room() > 0);
    }

    #[test]
    fn what_went_out_with_the_command_counts_and_positions_never_go_back() {
        let mut window = Window::new(STDIN_WINDOW_BYTES + 9);
        assert_eq!(window.room(), 0);
        window.accepted(10);
        window.accepted(5);
        assert_eq!(window.room(), 1);
        // Another writer's bytes, or a typed end of file, may put the server ahead of us.
        window.accepted(STDIN_WINDOW_BYTES + 20);
        assert_eq!(window.room() as u64, STDIN_CHUNK_BYTES);
    }
}

//! How much stdin may be on its way, sent and not yet accepted. Pure: the time is passed in.
//!
//! It follows what the command takes: twice what was accepted in the last round trip, so that it is never what slows a
//! command that reads; the least of a command that does not. It stays below what the server takes off the call without
//! the command, so that nothing of it fills HTTP/2's windows, and signals, sizes and a cancellation always get through.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Bytes sent and not accepted, at first, and for a command that does not read.
pub const STDIN_WINDOW_BYTES: u64 = 256 << 10;
/// Bytes sent and not accepted, at most: what the server takes off a call without its command, less what chunks' frames
/// and other messages need of it. More would wait in the server's window of the call, and block it.
pub const MAX_STDIN_WINDOW_BYTES: u64 = SERVER_BUFFER_BYTES - (32 << 10);
/// Chunks sent and not accepted, at most: one-byte chunks cost far more than their byte.
pub const STDIN_WINDOW_CHUNKS: usize = 1024;
/// Bytes in one chunk, at most.
pub const STDIN_CHUNK_BYTES: u64 = 64 << 10;

/// What the server accepts beyond what the command has read, so that it says nothing of the command.
const SERVER_BUFFER_BYTES: u64 = 1 << 20;
/// The server may take as long to tell what it has accepted, whatever the network takes.
const ACKNOWLEDGE_INTERVAL: Duration = Duration::from_millis(5);

/// The account of one stdin.
#[derive(Debug)]
pub(crate) struct Window {
    sent: u64,
    accepted: u64,
    chunks: VecDeque<Chunk>,
    /// How much may be on its way.
    bytes: u64,
    /// The shortest that a chunk took to be accepted; what takes longer waits for the command.
    round_trip: Duration,
    /// When what has been taken since was measured last, and what had been taken then.
    since: (Instant, u64),
}

/// A chunk on its way.
#[derive(Debug)]
struct Chunk {
    end: u64,
    sent: Instant,
}

impl Window {
    /// With `sent` bytes on their way since `now`.
    pub(crate) fn new(sent: u64, now: Instant) -> Self {
        Self {
            sent,
            accepted: 0,
            chunks: VecDeque::new(),
            bytes: STDIN_WINDOW_BYTES,
            round_trip: Duration::MAX,
            since: (now, 0),
        }
    }

    /// How large the next chunk may be; 0: it must wait.
    pub(crate) fn room(&self) -> usize {
        if self.chunks.len() >= STDIN_WINDOW_CHUNKS {
            return 0;
        }
        let on_the_way = self.sent.saturating_sub(self.accepted);
        let room = self.bytes.saturating_sub(on_the_way);
        usize::try_from(room.min(STDIN_CHUNK_BYTES)).unwrap_or(0)
    }

    /// Notes that a chunk went out.
    pub(crate) fn sent(&mut self, bytes: usize, now: Instant) {
        self.sent += bytes as u64;
        let (end, sent) = (self.sent, now);
        self.chunks.push_back(Chunk { end, sent });
    }

    /// Notes the server's position.
    pub(crate) fn accepted(&mut self, position: u64, now: Instant) {
        if position <= self.accepted {
            return;
        }
        self.accepted = position;
        while let Some(chunk) = self.chunks.front().filter(|chunk| chunk.end <= position) {
            let took = now.saturating_duration_since(chunk.sent);
            self.round_trip = self.round_trip.min(took);
            self.chunks.pop_front();
        }
        self.follow(now);
    }

    /// Once a round trip, sets the window by what the command took in it.
    fn follow(&mut self, now: Instant) {
        // One that was longer than this waited for the command, which is to be found out.
        const LONGEST: Duration = Duration::from_secs(1);
        let round_trip = self.round_trip.clamp(ACKNOWLEDGE_INTERVAL, LONGEST);
        let (begun, before) = self.since;
        let elapsed = now.saturating_duration_since(begun);
        if elapsed < round_trip {
            return;
        }
        let taken = self.accepted.saturating_sub(SERVER_BUFFER_BYTES);
        let in_one = u128::from(taken - before) * round_trip.as_nanos() / elapsed.as_nanos();
        let bytes = u64::try_from(2 * in_one).unwrap_or(u64::MAX);
        self.bytes = bytes.clamp(STDIN_WINDOW_BYTES, MAX_STDIN_WINDOW_BYTES);
        self.since = (now, taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends what there is room for.
    fn fill(window: &mut Window, now: Instant) -> u64 {
        let mut sent = 0;
        while window.room() > 0 {
            let chunk = window.room();
            assert!(chunk as u64 <= STDIN_CHUNK_BYTES);
            window.sent(chunk, now);
            sent += chunk as u64;
        }
        sent
    }

    #[test]
    fn bytes_on_the_way_are_bounded() {
        let now = Instant::now();
        let mut window = Window::new(0, now);
        assert_eq!(window.room(), 65_536);
        assert_eq!(fill(&mut window, now), 262_144);
        window.accepted(1, now);
        assert_eq!(window.room(), 1);
    }

    #[test]
    fn chunks_on_the_way_are_bounded() {
        let now = Instant::now();
        let mut window = Window::new(0, now);
        for _ in 0..1024 {
            assert!(window.room() > 0);
            window.sent(1, now);
        }
        assert_eq!(window.room(), 0);
        window.accepted(1, now);
        assert!(window.room() > 0);
    }

    #[test]
    fn what_went_out_with_the_command_counts_and_positions_never_go_back() {
        let now = Instant::now();
        let mut window = Window::new(STDIN_WINDOW_BYTES + 9, now);
        assert_eq!(window.room(), 0);
        window.accepted(10, now);
        window.accepted(5, now);
        assert_eq!(window.room(), 1);
        // Another writer's bytes, or a typed end of file, may put the server ahead of us.
        window.accepted(STDIN_WINDOW_BYTES + 20, now);
        assert_eq!(window.room() as u64, STDIN_CHUNK_BYTES);
    }

    /// What is on its way after `rounds` of `round_trip`, in each of which the server accepts what was sent, up to `rate`
    /// bytes, and no more than `most` in all.
    fn after(rounds: u32, round_trip: Duration, rate: u64, most: u64) -> u64 {
        let mut now = Instant::now();
        let mut window = Window::new(0, now);
        let (mut sent, mut accepted) = (0, 0);
        for _ in 0..rounds {
            sent += fill(&mut window, now);
            now += round_trip;
            accepted = sent.min(accepted + rate).min(most);
            window.accepted(accepted, now);
        }
        sent += fill(&mut window, now);
        sent - accepted
    }

    #[test]
    fn a_command_that_never_reads_has_the_least_on_its_way() {
        // The server accepts as much as it buffers, as fast as it comes.
        for round_trip in [1, 5, 100].map(Duration::from_millis) {
            let unread = after(50, round_trip, u64::MAX / 2, SERVER_BUFFER_BYTES);
            assert_eq!(unread, STDIN_WINDOW_BYTES, "{round_trip:?}");
        }
    }

    #[test]
    fn a_command_that_reads_has_the_most_after_a_few_round_trips() {
        for round_trip in [5, 100].map(Duration::from_millis) {
            let read = after(10, round_trip, u64::MAX / 2, u64::MAX);
            assert_eq!(read, MAX_STDIN_WINDOW_BYTES, "{round_trip:?}");
        }
        // Many acknowledgements in what counts as one.
        let read = after(200, Duration::from_micros(200), u64::MAX / 2, u64::MAX);
        assert_eq!(read, MAX_STDIN_WINDOW_BYTES);
    }

    #[test]
    fn a_slow_command_has_little_on_its_way_however_far_it_is() {
        // 2 MB a second, 100 ms away.
        let slow = after(500, Duration::from_millis(100), 200_000, u64::MAX);
        assert!(slow <= 2 * STDIN_WINDOW_BYTES, "{slow}");
        // One that takes next to nothing.
        let slow = after(5000, Duration::from_millis(5), 1000, u64::MAX);
        assert_eq!(slow, STDIN_WINDOW_BYTES);
    }

    #[test]
    fn a_pause_of_the_command_shrinks_what_is_on_its_way_again() {
        let mut now = Instant::now();
        let mut window = Window::new(0, now);
        let mut sent = 0;
        for _ in 0..20 {
            sent += fill(&mut window, now);
            now += Duration::from_millis(5);
            window.accepted(sent, now);
        }
        assert_eq!(window.bytes, MAX_STDIN_WINDOW_BYTES);
        sent += fill(&mut window, now);
        now += Duration::from_secs(3);
        window.accepted(sent, now);
        assert_eq!(fill(&mut window, now), STDIN_WINDOW_BYTES);
    }
}

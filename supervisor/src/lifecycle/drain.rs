//! A command's output after its leader's end: how much of each stream is owed to its reader, and how long others that hold it open are
//! waited for. Pure; times are since the spawn.

use std::time::Duration;

use super::output::STREAMS;

/// After the leader's end, others that hold its output open may be silent for this long.
pub const DRAIN_QUIET: Duration = Duration::from_millis(100);

/// They are waited for this long in all, not counting the time in which the reader holds the output up.
pub const DRAIN_BOUND: Duration = Duration::from_secs(1);

/// This much is read of each stream beyond what was there at the leader's end.
pub const DRAIN_BYTES: usize = 1024 * 1024;

/// The streams of a command, and what is owed of each.
#[derive(Debug, Default)]
pub(super) struct OpenStreams([OpenStream; STREAMS]);

#[derive(Debug, Default)]
struct OpenStream {
    ended: bool,
    /// Bytes that have to be delivered, whatever the clock says.
    owed: usize,
    /// Bytes that were read since the leader's end and were not owed.
    beyond: usize,
}

impl OpenStreams {
    /// What was written and not been read yet has to be delivered.
    pub(super) fn owe(&mut self, unread: [usize; STREAMS]) {
        for (stream, unread) in self.0.iter_mut().zip(unread) {
            stream.owed = stream.owed.max(unread);
        }
    }

    /// Nobody is there to deliver to.
    pub(super) fn owe_nothing(&mut self) {
        for stream in &mut self.0 {
            stream.owed = 0;
        }
    }

    /// `bytes` were read, after the leader's end.
    pub(super) fn read(&mut self, stream: usize, bytes: usize) {
        if let Some(stream) = self.0.get_mut(stream) {
            let owed = stream.owed.min(bytes);
            stream.owed -= owed;
            stream.beyond = stream.beyond.saturating_add(bytes - owed);
        }
    }

    /// Nobody holds it open any more.
    pub(super) fn end(&mut self, stream: usize) {
        if let Some(stream) = self.0.get_mut(stream) {
            stream.ended = true;
        }
    }

    /// Whether any has not ended.
    pub(super) fn are_open(&self) -> bool {
        self.0.iter().any(|stream| !stream.ended)
    }

    /// Whether any of them has something that is owed.
    pub(super) fn owe_any(&self) -> bool {
        self.0.iter().any(|stream| !stream.ended && stream.owed > 0)
    }

    /// Whether no more is to be read of any of them.
    pub(super) fn are_exhausted(&self) -> bool {
        self.0
            .iter()
            .all(|stream| stream.ended || stream.readable() == 0)
    }

    /// How many bytes of one may be read.
    pub(super) fn readable(&self, stream: usize) -> usize {
        self.0.get(stream).map_or(0, OpenStream::readable)
    }
}

impl OpenStream {
    fn readable(&self) -> usize {
        self.owed
            .saturating_add(DRAIN_BYTES.saturating_sub(self.beyond))
    }
}

/// The clock of a drain. It stands still while the reader holds the output up.
#[derive(Debug)]
pub(super) struct Drain {
    quiet_at: Duration,
    /// What is left of [`DRAIN_BOUND`], at `since`.
    left: Duration,
    /// When the clock was last started; `None` while it stands still.
    since: Option<Duration>,
    /// Others are not waited for.
    hurried: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            quiet_at: Duration::ZERO,
            left: DRAIN_BOUND,
            since: None,
            hurried: false,
        }
    }
}

impl Drain {
    /// Something was read.
    pub(super) fn heard(&mut self, now: Duration) {
        self.quiet_at = now + DRAIN_QUIET;
    }

    /// The reader takes output, from `now` on.
    pub(super) fn start(&mut self, now: Duration) {
        if self.since.is_none() {
            self.since = Some(now);
            self.heard(now);
        }
    }

    /// The reader holds it up.
    pub(super) fn stop(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(now.saturating_sub(since));
        }
    }

    /// Its time begins anew.
    pub(super) fn restart(&mut self, now: Duration) {
        self.left = DRAIN_BOUND;
        if self.since.take().is_some() {
            self.start(now);
        }
    }

    /// Others are not waited for any more.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// When it is over, if nothing is owed; `None` while its clock stands still.
    pub(super) fn deadline(&self) -> Option<Duration> {
        if self.hurried {
            return Some(Duration::ZERO);
        }
        Some(self.quiet_at.min(self.since? + self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_counted_for_each_stream() {
        let mut streams = OpenStreams::default();
        streams.owe([10, 4]);
        streams.read(0, 1000);
        assert!(streams.owe_any());
        streams.read(1, 4);
        assert!(!streams.owe_any());
        // What has ended owes nothing, whatever was said.
        streams.owe([0, 7]);
        streams.end(1);
        assert!(!streams.owe_any());
        assert!(streams.are_open());
    }

    #[test]
    fn beyond_what_is_owed_each_stream_has_a_bound() {
        let mut streams = OpenStreams::default();
        streams.owe([5, 0]);
        assert_eq!(streams.readable(0), 5 + 1_048_576);
        assert_eq!(streams.readable(1), 1_048_576);
        streams.read(0, 6);
        assert_eq!(streams.readable(0), DRAIN_BYTES - 1);
        streams.read(0, DRAIN_BYTES - 1);
        assert_eq!(streams.readable(0), 0);
        assert!(!streams.are_exhausted());
        streams.end(1);
        assert!(streams.are_exhausted());
        assert_eq!(streams.readable(2), 0);
    }

    #[test]
    fn the_clock_stands_still_while_the_reader_holds_the_output_up() {
        let ms = Duration::from_millis;
        let mut drain = Drain::default();
        assert_eq!(drain.deadline(), None);
        drain.start(ms(10));
        assert_eq!(drain.deadline(), Some(ms(110)));
        drain.heard(ms(1009));
        assert_eq!(drain.deadline(), Some(ms(1010)));
        drain.stop(ms(510));
        assert_eq!(drain.deadline(), None);
        drain.start(ms(9000));
        drain.heard(ms(9450));
        assert_eq!(drain.deadline(), Some(ms(9500)));
        drain.stop(ms(9460));
        drain.hurry();
        assert_eq!(drain.deadline(), Some(Duration::ZERO));
    }
}

//! What the executions of a process come to, all together: sums and durations that only grow, and how many are held up. To
//! count costs a relaxed atomic; who reads them stops nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::output::OutputStream;

/// Upper bounds of the buckets of a [`DurationHistogram`]; what is longer than the last has a bucket of its own.
pub const DURATION_BOUNDS: [Duration; 14] = [
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(10),
];

/// How many buckets there are.
pub const DURATION_BUCKETS: usize = DURATION_BOUNDS.len() + 1;

/// How long something took, each time.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    buckets: [AtomicU64; DURATION_BUCKETS],
    nanoseconds: AtomicU64,
}

/// What a [`DurationHistogram`] has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurationCounts {
    /// How many took at most so long, and longer than the bound before.
    pub buckets: [u64; DURATION_BUCKETS],
    /// All of them together.
    pub sum: Duration,
}

impl DurationHistogram {
    /// It took so long once more.
    pub fn record(&self, duration: Duration) {
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < duration);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds
            .fetch_add(nanoseconds(duration), Ordering::Relaxed);
    }

    /// What there is so far.
    pub fn counts(&self) -> DurationCounts {
        let count = |index: usize| self.buckets[index].load(Ordering::Relaxed);
        DurationCounts {
            buckets: std::array::from_fn(count),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

/// The sums.
#[derive(Debug, Default)]
pub struct Totals {
    stdin_bytes: AtomicU64,
    stdout_bytes: AtomicU64,
    stderr_bytes: AtomicU64,
    held_up: AtomicU64,
    held_up_nanoseconds: AtomicU64,
    drains: DurationHistogram,
}

impl Totals {
    /// Bytes of stdin that commands were given.
    pub fn stdin_bytes(&self) -> u64 {
        self.stdin_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that were read of their stdout, and of their terminals.
    pub fn stdout_bytes(&self) -> u64 {
        self.stdout_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that were read of their stderr.
    pub fn stderr_bytes(&self) -> u64 {
        self.stderr_bytes.load(Ordering::Relaxed)
    }

    /// How many executions a reader holds up now.
    pub fn held_up(&self) -> u64 {
        self.held_up.load(Ordering::Relaxed)
    }

    /// How long readers have held executions up that they do not hold up any more.
    pub fn held_up_time(&self) -> Duration {
        Duration::from_nanos(self.held_up_nanoseconds.load(Ordering::Relaxed))
    }

    /// How long it took from a leader's end to that of its execution.
    pub fn drains(&self) -> DurationCounts {
        self.drains.counts()
    }

    pub(super) fn read(&self, stream: OutputStream, bytes: u64) {
        let total = match stream {
            OutputStream::Stdout | OutputStream::Terminal => &self.stdout_bytes,
            OutputStream::Stderr => &self.stderr_bytes,
        };
        total.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn accept(&self, bytes: u64) {
        self.stdin_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn drained(&self, duration: Duration) {
        self.drains.record(duration);
    }
}

/// An execution that its reader holds up, from its making to its end; dropped before that, its time is not counted.
#[derive(Debug)]
pub(super) struct HeldUp {
    totals: Arc<Totals>,
    since: Duration,
}

impl HeldUp {
    pub(super) fn since(now: Duration, totals: &Arc<Totals>) -> Self {
        totals.held_up.fetch_add(1, Ordering::Relaxed);
        Self {
            totals: Arc::clone(totals),
            since: now,
        }
    }

    pub(super) fn end(self, now: Duration) {
        let time = nanoseconds(now.saturating_sub(self.since));
        self.totals
            .held_up_nanoseconds
            .fetch_add(time, Ordering::Relaxed);
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        self.totals.held_up.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_in_its_own_bucket_and_what_is_longer_in_the_next() {
        let durations = DurationHistogram::default();
        for (bucket, bound) in DURATION_BOUNDS.into_iter().enumerate() {
            durations.record(bound);
            durations.record(bound + Duration::from_nanos(1));
            let counts = durations.counts().buckets;
            let expected = 1 + u64::from(bucket > 0);
            assert_eq!((counts[bucket], counts[bucket + 1]), (expected, 1));
        }
        assert!(DURATION_BOUNDS.is_sorted());
        let once: Duration = DURATION_BOUNDS.iter().sum();
        let ends = Duration::from_nanos(DURATION_BOUNDS.len() as u64);
        assert_eq!(durations.counts().sum, once * 2 + ends);
    }

    #[test]
    fn who_is_held_up_is_counted_until_it_is_not() {
        let totals = Arc::new(Totals::default());
        let second = Duration::from_secs(1);
        let one = HeldUp::since(second, &totals);
        let other = HeldUp::since(second, &totals);
        assert_eq!(totals.held_up(), 2);
        one.end(second * 3);
        drop(other);
        assert_eq!((totals.held_up(), totals.held_up_time()), (0, second * 2));
    }
}

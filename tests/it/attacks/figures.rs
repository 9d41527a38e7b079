//! What a process keeps in memory, and how long calls take.

use std::{fmt, fs, time::Duration};

use rustix::process::Pid;

const MIB: u64 = 1 << 20;

/// Bytes that a process keeps in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// The most since [`Memory::forget_peak`].
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn of(pid: Pid) -> Self {
        let path = format!("/proc/{}/status", pid.as_raw_nonzero());
        let status = fs::read_to_string(path).expect("the process lives");
        let kib = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            value.expect("a number of KiB") * 1024
        };
        Self {
            now: kib("VmRSS"),
            peak: kib("VmHWM"),
        }
    }

    /// Has the kernel count the peak anew.
    pub(crate) fn forget_peak(pid: Pid) {
        let path = format!("/proc/{}/clear_refs", pid.as_raw_nonzero());
        fs::write(path, "5").expect("the right to reset a peak");
    }
}

/// What threads had of the processors, and how long they waited for one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) ran: Duration,
    pub(crate) waited: Duration,
}

impl Cpu {
    /// Of the threads that the process `pid` has now.
    pub(crate) fn of(pid: Pid) -> Self {
        let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
        let tasks = fs::read_dir(tasks).expect("its threads").flatten();
        // One that ends meanwhile has no say.
        let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        times.fold(Self::default(), |sum, text| sum.plus(Self::parse(&text)))
    }

    pub(crate) fn of_this_thread() -> Self {
        let text = fs::read_to_string("/proc/thread-self/schedstat");
        Self::parse(&text.expect("the kernel counts"))
    }

    /// The kernel's sched-stats: nanoseconds run, nanoseconds waited, and how often.
    fn parse(text: &str) -> Self {
        let mut fields = text
            .split_whitespace()
            .map(|field| field.parse().expect("a number"));
        let mut next = || Duration::from_nanos(fields.next().expect("a time"));
        Self {
            ran: next(),
            waited: next(),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            ran: self.ran + other.ran,
            waited: self.waited + other.waited,
        }
    }

    /// From `before` to this.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(before.ran),
            waited: self.waited.saturating_sub(before.waited),
        }
    }
}

/// `bytes` in MiB, with a tenth.
pub(crate) fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB)
}

/// How long calls took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time within which `percent` of them were over.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let index = sorted.len() * percent / 100;
        sorted.get(index.min(last)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms of {}",
            millis(50),
            millis(99),
            self.count()
        )
    }
}

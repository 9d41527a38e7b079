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

/// Processor time that was used until it was looked at first.
#[derive(Debug)]
pub(crate) struct Cpu {
    /// The kernel's file about whoever used it.
    file: String,
    used: Duration,
}

impl Cpu {
    /// Of the process `pid`, with all its threads.
    pub(crate) fn of(pid: Pid) -> Self {
        Self::in_file(format!("/proc/{}/stat", pid.as_raw_nonzero()))
    }

    pub(crate) fn of_this_thread() -> Self {
        let thread = rustix::thread::gettid();
        Self::in_file(format!("/proc/self/task/{}/stat", thread.as_raw_nonzero()))
    }

    fn in_file(file: String) -> Self {
        let stat = fs::read_to_string(&file).expect("it lives");
        // Behind the name, which may hold anything.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks
            .map(|field| field.parse::<u64>().expect("a number"))
            .sum();
        let used = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
        Self { file, used }
    }

    /// What was used since.
    pub(crate) fn since(self) -> Duration {
        Self::in_file(self.file).used.saturating_sub(self.used)
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

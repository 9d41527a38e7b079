//! The process that was spawned: its exit is seen through its pidfd, and it stays a zombie until nothing will be
//! signalled any more, so that its pid and process group cannot become another's.

#![expect(
    unsafe_code,
    reason = "waitid with a pidfd and resource usage is not in rustix"
)]

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{clone::Cloned, signal};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// With this exit code.
    Code(u8),
    /// Killed by a signal.
    Signal {
        /// Its number.
        number: i32,
        /// Its core was dumped.
        core_dumped: bool,
    },
}

/// What a process and the children it waited for used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Largest resident set in bytes, where it is the command's own: exec inherits the spawner's high-water mark.
    pub max_rss_bytes: Option<u64>,
}

/// A spawned process that has not been reaped.
#[derive(Debug)]
pub(super) struct Leader {
    pid: i32,
    pidfd: OwnedFd,
    born: Instant,
}

/// A leader's pidfd, shared with whoever reaps it: readable when the leader has ended.
#[derive(Debug)]
pub struct Pidfd(Arc<Leader>);

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.pidfd.as_raw_fd()
    }
}

impl Leader {
    /// Of what was `born` then, or a moment later.
    pub(super) fn new(cloned: Cloned, born: Instant) -> Self {
        Self {
            pid: cloned.pid,
            pidfd: cloned.pidfd,
            born,
        }
    }

    /// Its process id, which is its session's and process group's too.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// It was held until now.
    pub(super) fn let_go(&mut self) {
        self.born = Instant::now();
    }

    /// When it was made, or let go: before its program could do anything, so that no time it used is missing since.
    pub(super) fn born(&self) -> Instant {
        self.born
    }

    /// Readable when the process has ended.
    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// The same, for as long as the answer lives.
    pub(super) fn shared_pidfd(self: &Arc<Self>) -> Pidfd {
        Pidfd(Arc::clone(self))
    }

    /// How it ended, if it has. It stays unreaped.
    pub(super) fn status(&self) -> io::Result<Option<(ExitStatus, Usage)>> {
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let Some((info, usage)) = self.wait(options)? else {
            return Ok(None);
        };
        // SAFETY: waitid filled the SIGCHLD part of the union.
        let value = unsafe { info.si_status() };
        let status = match info.si_code {
            // The kernel keeps 8 bits of what a process gives to exit.
            libc::CLD_EXITED => ExitStatus::Code(value.to_le_bytes()[0]),
            code => ExitStatus::Signal {
                number: value,
                core_dumped: code == libc::CLD_DUMPED,
            },
        };
        Ok(Some((status, measure(&usage))))
    }

    /// Sends a signal to its process group, which it is in as long as it is there: it leads a session.
    pub(super) fn signal_group(&self, number: i32) -> io::Result<()> {
        signal::group(self.pid, number)
    }

    /// Kills it, by its number where the kernel takes no pidfd for that: it is not reaped, so the number is its own.
    pub(super) fn kill(&self) -> io::Result<()> {
        match signal::pidfd_send(&self.pidfd, libc::SIGKILL) {
            Err(error) if !signal::has_ended(&error) => signal::process(self.pid, libc::SIGKILL),
            sent => sent,
        }
    }

    /// Lets go of the process if it has ended; `false`: it has not.
    pub(super) fn reap(&self) -> bool {
        // An error says that it is nobody's child any more.
        self.wait(libc::WEXITED | libc::WNOHANG)
            .map_or(true, |ended| ended.is_some())
    }

    fn wait(&self, options: i32) -> io::Result<Option<(libc::siginfo_t, libc::rusage)>> {
        loop {
            // SAFETY: both are plain data, valid when zeroed.
            let (mut info, mut usage): (libc::siginfo_t, libc::rusage) =
                unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
            // SAFETY: a live descriptor and two places to write to.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_waitid,
                    libc::P_PIDFD,
                    self.pidfd.as_raw_fd(),
                    &raw mut info,
                    options,
                    &raw mut usage,
                )
            };
            if result == 0 {
                // SAFETY: filled by waitid, or still zero where WNOHANG found nothing.
                let found = unsafe { info.si_pid() } != 0;
                return Ok(found.then_some((info, usage)));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

fn peak_bytes(usage: &libc::rusage) -> u64 {
    u64::try_from(usage.ru_maxrss)
        .unwrap_or(0)
        .saturating_mul(1024)
}

fn measure(usage: &libc::rusage) -> Usage {
    let time = |value: libc::timeval| {
        Duration::from_secs(value.tv_sec.try_into().unwrap_or(0))
            + Duration::from_micros(value.tv_usec.try_into().unwrap_or(0))
    };
    let bytes = peak_bytes(usage);
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        max_rss_bytes: is_above_own(bytes).then_some(bytes),
    }
}

/// This process is a fork that has executed nothing itself.
static IS_FORK: AtomicBool = AtomicBool::new(false);

/// Says that this process is a fork, and executes nothing itself.
pub(super) fn is_in_fork() {
    IS_FORK.store(true, Ordering::Relaxed);
}

/// Whether `bytes` is above the server's own high-water mark. Since that never falls, the kernel is asked only about what
/// is above all that it has said before.
fn is_above_own(bytes: u64) -> bool {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    if bytes <= SEEN.load(Ordering::Relaxed) {
        return false;
    }
    let Some(own) = own_peak_bytes() else {
        return false;
    };
    SEEN.fetch_max(own, Ordering::Relaxed);
    bytes > own
}

/// The high-water mark of this process's memory, which is what exec hands on. getrusage, which costs less, also counts that of the
/// program that a server was executed by, which is not handed on a second time.
fn own_peak_bytes() -> Option<u64> {
    if IS_FORK.load(Ordering::Relaxed) {
        // SAFETY: plain data, valid when zeroed.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: a place to write to.
        let result = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
        return (result == 0).then(|| peak_bytes(&usage));
    }
    let status = fs::read_to_string("/proc/self/status").ok()?;
    peak_of(&status)
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tremexd\nVmPeak:\t  20 kB\nVmHWM:\t    4660 kB\nVmRSS:\t 3 kB\n";
        assert_eq!(peak_of(status), Some(4660 * 1024));
        assert_eq!(peak_of("VmRSS:\t 3 kB\n"), None);
        assert!(own_peak_bytes().is_some_and(|bytes| bytes > 0));
    }
}

//! Sending signals to processes that are no children of ours, so that none reaches a pid's next owner; and which signals
//! this process ignores.

#![expect(unsafe_code, reason = "real-time signals are out of rustix's reach")]

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// All signals.
pub(super) const ALL: std::ops::RangeInclusive<i32> = 1..=64;

/// Sends `signal` to every process that `list` lists. Each is held by a pidfd before the list is read once more: what is
/// in both lists is the process that was meant.
pub(super) fn processes(signal: i32, list: impl Fn() -> Vec<i32>) {
    let held: Vec<(i32, OwnedFd)> = list()
        .into_iter()
        .filter_map(|pid| Some((pid, open(pid)?)))
        .collect();
    if held.is_empty() {
        return;
    }
    let still: HashSet<i32> = list().into_iter().collect();
    for (pid, pidfd) in held {
        if still.contains(&pid) {
            // One that has ended meanwhile needs no signal.
            let _ = pidfd_send(&pidfd, signal);
        }
    }
}

/// Sends `signal` to `pid` if that `is_meant`, which is asked while a pidfd holds it.
pub(super) fn held(signal: i32, pid: i32, is_meant: impl FnOnce() -> bool) {
    if let Some(pidfd) = open(pid)
        && is_meant()
    {
        // One that has ended meanwhile needs no signal.
        let _ = pidfd_send(&pidfd, signal);
    }
}

/// Sends `signal` to a process group whose leader is held unreaped, so that its number is still its own.
pub(super) fn group(leader: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain syscall.
    check(unsafe { libc::kill(-leader, signal) }.into())
}

/// Sends `signal` to the process that `pidfd` means.
pub(super) fn pidfd_send(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a live descriptor, and no siginfo.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0,
        )
    })
}

/// The signals that this process ignores, which a program that it executes would ignore too; all of them where the kernel
/// does not tell.
pub(super) fn ignored() -> Vec<i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = ignored_of(&status).unwrap_or(u64::MAX);
    ALL.filter(|signal| mask & (1 << (signal - 1)) != 0)
        .collect()
}

fn ignored_of(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

fn check(result: libc::c_long) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status =
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert_eq!(ignored_of(status), Some(0x1001));
        assert_eq!(ignored_of("SigIgn:\tx\n"), None);
        // Rust's runtime ignores it before main.
        assert!(ignored().contains(&libc::SIGPIPE));
        assert!(!ignored().contains(&libc::SIGTERM));
    }
}

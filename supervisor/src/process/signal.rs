//! Sending signals to processes, so that none reaches a pid's next owner.

#![expect(unsafe_code, reason = "real-time signals are out of rustix's reach")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Sends `number` to `pid` if it still `is_meant`, which is asked while a pidfd holds the process. Where the kernel, or a
/// filter of syscalls, has no pidfds for us, the process is signalled by its number as soon as it was found to be meant.
pub(super) fn send(number: i32, pid: i32, is_meant: impl Fn() -> bool) {
    let by_pidfd = match open(pid) {
        Ok(pidfd) => {
            if !is_meant() {
                return;
            }
            pidfd_send(&pidfd, number)
        }
        Err(error) => Err(error),
    };
    if by_pidfd.is_err_and(|error| !has_ended(&error)) && is_meant() {
        // One that has ended meanwhile needs no signal.
        let _ = process(pid, number);
    }
}

/// Sends `number` to a process that cannot have been reaped: a leader that is held unreaped, or one that was identified
/// just now.
pub(super) fn process(pid: i32, number: i32) -> io::Result<()> {
    // SAFETY: plain syscall.
    check(unsafe { libc::kill(pid, number) }.into())
}

/// Sends `number` to a process group whose leader is held unreaped, so that its number is still its own.
pub(super) fn group(leader: i32, number: i32) -> io::Result<()> {
    process(-leader, number)
}

/// Sends `number` to the process that `pidfd` means.
pub(super) fn pidfd_send(pidfd: &OwnedFd, number: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a live descriptor, and no siginfo.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            info,
            0,
        )
    })
}

/// A pidfd of `pid`.
pub(super) fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Whether `error` says that there is no such process any more.
pub(super) fn has_ended(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
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

    /// Makes `denied` fail with `errno` in this thread, as a container's filter does.
    fn deny(denied: libc::c_long, errno: i32) {
        let word = |code: u32, jt, jf, k| libc::sock_filter {
            code: u16::try_from(code).unwrap(),
            jt,
            jf,
            k,
        };
        let mut program = [
            // The number of the syscall, which comes first in what the filter sees.
            word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            word(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                0,
                1,
                u32::try_from(denied).unwrap(),
            ),
            word(
                libc::BPF_RET | libc::BPF_K,
                0,
                0,
                libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(),
            ),
            word(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog {
            len: 4,
            filter: program.as_mut_ptr(),
        };
        // SAFETY: both act on this thread alone, and the program outlives the call that copies it.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            let set = libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter, 0, 0);
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
        }
    }

    #[test]
    fn pitfall_51_without_pidfds_a_process_is_signalled_by_its_number() {
        use std::{os::unix::process::ExitStatusExt, process::Command};

        for denied in [libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal] {
            for errno in [libc::ENOSYS, libc::EPERM] {
                let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
                let pid = i32::try_from(child.id()).unwrap();
                std::thread::spawn(move || {
                    deny(denied, errno);
                    send(libc::SIGTERM, pid, || false);
                    send(libc::SIGUSR1, pid, || true);
                })
                .join()
                .unwrap();
                assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGUSR1));
            }
        }
    }
}

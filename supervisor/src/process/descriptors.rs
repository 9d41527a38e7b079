//! A table of descriptors of a thread's own, which others cannot use up.

#![expect(unsafe_code, reason = "close_range is not in rustix")]

use std::io;

/// The first descriptor that is not stdin, stdout or stderr.
const FIRST: libc::c_uint = 3;

/// Gives the calling thread an empty table of descriptors, but for 0, 1 and 2. Where the kernel, or a filter of syscalls,
/// does not allow it, the thread goes on with the process's table; then nothing was closed.
///
/// # Safety
///
/// The process's table must be used by another thread, too, until this function returns; and no descriptor may pass
/// between this thread and others: neither may close, or use, what the other has opened.
pub(super) unsafe fn unshare() -> io::Result<()> {
    // SAFETY: closes descriptors in a copy of the table alone, since the table has another user; the caller vouches for
    // that, and that nobody minds.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read, os::fd::AsRawFd};

    use super::*;

    #[test]
    fn a_threads_own_table_leaves_the_others_alone() {
        let mut file = File::open("/proc/self/stat").unwrap();
        let number = file.as_raw_fd();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // SAFETY: the thread that waits here has the table, and nothing passes between the two.
                unsafe { unshare() }.unwrap();
                let target = std::fs::read_link(format!("/proc/thread-self/fd/{number}"));
                assert!(target.is_err(), "{target:?}");
            });
        });
        file.read_exact(&mut [0]).unwrap();
    }
}

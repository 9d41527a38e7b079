//! Who supervises an execution: whoever holds the lock in its folder. Never a pid, which may be another's by now.
//!
//! The supervisor's is a lock of its process: a child that it forks never has it, however long the kernel holds that child
//! before its program. A server's is one of its open file, since other threads of it may open and close the same file.

#![expect(unsafe_code, reason = "locks of open files are out of rustix's reach")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, openat};

/// The file's name in an execution's folder.
pub const LOCK_FILE: &str = "supervisor.lock";

/// That no supervisor lives, and none can begin, until this is dropped.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "is held")] OwnedFd);

/// That this process is the supervisor, until it ends.
#[derive(Debug)]
pub(super) struct SupervisorLock(#[expect(dead_code, reason = "is held")] OwnedFd);

impl SupervisorLock {
    /// `None`: another process has it.
    pub(super) fn take(folder: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let file = open(folder)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(error) => is_held(error.into()),
        }
    }
}

impl FolderLock {
    /// `None`: a supervisor lives, or somebody else looks after what one has left.
    pub fn take(folder: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let file = open(folder)?;
        let mut whole = whole_file();
        match fcntl(&file, libc::F_OFD_SETLK, &mut whole) {
            Ok(()) => Ok(Some(Self(file))),
            Err(error) => is_held(error),
        }
    }

    /// The supervisor's process id, for people, and for whoever has to end one that does not answer; `None` where there is
    /// none.
    pub fn holder(folder: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let file = open(folder)?;
        let mut found = whole_file();
        fcntl(&file, libc::F_OFD_GETLK, &mut found)?;
        let is_free = found.l_type == type_of(libc::F_UNLCK);
        // A lock of an open file has no holder.
        Ok((!is_free && found.l_pid > 0).then_some(found.l_pid))
    }
}

fn open(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, LOCK_FILE, flags, Mode::RUSR | Mode::WUSR)?)
}

fn is_held<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(None),
        _ => Err(error),
    }
}

fn type_of(kind: i32) -> libc::c_short {
    libc::c_short::try_from(kind).unwrap_or_default()
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: type_of(libc::F_WRLCK),
        l_whence: type_of(libc::SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn fcntl(file: &OwnedFd, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: a live descriptor, and a whole lock to read and to write.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = File::open(dir.path()).unwrap();
        assert_eq!(FolderLock::holder(folder.as_fd()).unwrap(), None);
        let lock = FolderLock::take(folder.as_fd()).unwrap().unwrap();
        assert!(FolderLock::take(folder.as_fd()).unwrap().is_none());
        assert!(SupervisorLock::take(folder.as_fd()).unwrap().is_none());
        assert_eq!(FolderLock::holder(folder.as_fd()).unwrap(), None);
        drop(lock);
        // A process lets go of its lock when it closes the file, whichever descriptor it had it open at: one look each.
        let lock = SupervisorLock::take(folder.as_fd()).unwrap().unwrap();
        assert!(FolderLock::take(folder.as_fd()).unwrap().is_none());
        drop(lock);
        let lock = SupervisorLock::take(folder.as_fd()).unwrap().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(FolderLock::holder(folder.as_fd()).unwrap(), Some(own));
        drop(lock);
    }
}

//! Children in memory of their own, as the zygote makes them.

#![expect(unsafe_code, reason = "fork returns twice")]

use std::{
    io,
    os::fd::{BorrowedFd, RawFd},
};

use super::call::{CloneArgs, Cloned, is_denied, made};

/// Whose child a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// That of the process which makes it.
    This,
    /// That of this process's own parent.
    Ours,
}

/// A child in memory of its own, as fork(2) makes it. `None` in the child. Returns as it is called, but for signal handlers,
/// which only clone3 resets.
///
/// # Safety
///
/// This process has one thread.
pub(crate) unsafe fn fork(
    cgroup: Option<BorrowedFd<'_>>,
    parent: Parent,
) -> io::Result<Option<Cloned>> {
    let mut pidfd: RawFd = -1;
    let args = match parent {
        Parent::This => CloneArgs::new(0, &mut pidfd, cgroup).telling_its_end(),
        // It ends with the signal that this process ends with.
        Parent::Ours => CloneArgs::new(libc::CLONE_PARENT, &mut pidfd, cgroup),
    };
    // SAFETY: the arguments point into this frame; without CLONE_VM, the child goes on with a copy of this stack.
    let mut answer = unsafe { args.by_clone3().fork() };
    if answer.is_err_and(is_denied) && cgroup.is_none() {
        // SAFETY: as above.
        answer = unsafe { args.by_clone().fork() };
    }
    // SAFETY: CLONE_PIDFD made this descriptor for us.
    unsafe { made(answer, pidfd) }
}

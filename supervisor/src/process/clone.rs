//! Children that share the server's memory until they execute, so that their cost does not follow the server's size; and
//! that run beside the thread that made them, so that none which the kernel holds can hold that thread.
//!
//! All that such a child uses is in a [`Birth`], which stays where it is until the kernel has said that the child is out of
//! this memory: it zeroes a word (CLONE_CHILD_CLEARTID) at exec and at the child's death, and wakes who waits for that.

#![expect(unsafe_code, reason = "the child shares this memory")]

mod birth;
mod call;
mod fork;
mod mask;
mod stack;

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, BorrowedFd, RawFd},
    ptr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rustix::process::{WaitId, WaitIdOptions};

pub(super) use self::birth::Birth;
pub(crate) use self::{
    birth::Work,
    call::Cloned,
    fork::{Parent, fork},
};
use self::{
    birth::{Shared, child_main},
    call::{CloneArgs, is_denied, made},
    mask::SignalsBlocked,
    stack::Stack,
};
use super::leader::Leader;

/// Stacks that are kept for the next child.
const MAX_IDLE_STACKS: usize = 64;

/// A child in this memory says when it is out of it.
const IN_THIS_MEMORY: c_int = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID;

/// Makes children, in the way that this kernel lets it.
#[derive(Debug)]
pub(super) struct Cloner {
    has_clone3: bool,
    /// A child has a copy of this process's table of descriptors, not the table itself.
    copies_descriptors: bool,
    stacks: Mutex<Vec<Stack>>,
}

impl Cloner {
    /// Finds out how children can be made here. `Err`: in no way that gives a pidfd, without which nobody could be ended
    /// for sure.
    pub(super) fn new() -> io::Result<Self> {
        let mut cloner = Self::unproven();
        match cloner.probe(None) {
            Err(error) if error.raw_os_error().is_some_and(is_denied) => cloner.has_clone3 = false,
            lives => return lives.map(|_| cloner),
        }
        cloner.probe(None).map_err(|error| {
            let why = format!("no child with a pidfd can be made here (clone3, clone with CLONE_PIDFD, waitid with P_PIDFD; Linux 5.4, or what a container's seccomp filter lets through): {error}");
            io::Error::new(error.kind(), why)
        })?;
        Ok(cloner)
    }

    /// Of a process with one thread, which handles no signal: its children have a copy of its descriptors. How they can be made is
    /// found out by the first, whose stack is there already.
    pub(super) fn apart() -> io::Result<Self> {
        Ok(Self {
            copies_descriptors: true,
            stacks: Mutex::new(vec![Stack::new()?]),
            ..Self::unproven()
        })
    }

    fn unproven() -> Self {
        Self {
            has_clone3: true,
            copies_descriptors: false,
            stacks: Mutex::default(),
        }
    }

    /// Whether a child has the default action for every signal that this process handles. Those that it ignores, a child
    /// ignores too.
    pub(super) fn resets_handlers(&self) -> bool {
        self.has_clone3
    }

    /// Makes a child that does `work`, with every signal blocked. It is born in `cgroup` if one is given.
    pub(super) fn start<W: Work>(
        &self,
        work: W,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Leader, Birth<W>)> {
        let stack = self.take_stack()?;
        let shared = Box::new(Shared::new(work));
        let blocked = SignalsBlocked::new();
        let born = Instant::now();
        // SAFETY: the stack is used by nobody else, and it and `shared` stay as long as the word is not zero, which
        // `Birth` sees to.
        let cloned = unsafe { self.clone(&shared, &stack, cgroup) };
        drop(blocked);
        match cloned {
            Ok(cloned) => Ok((Leader::new(cloned, born), Birth::new(shared, stack))),
            Err(error) => {
                self.put_stack(stack);
                Err(error)
            }
        }
    }

    /// Takes back what a child has used that is out of it.
    pub(super) fn finish<W: Work>(&self, birth: Birth<W>) -> Option<W> {
        let (stack, work) = birth.end()?;
        self.put_stack(stack);
        Some(work)
    }

    /// # Safety
    ///
    /// `stack` and `shared` are the child's until the word in `shared` is zero.
    unsafe fn clone<W: Work>(
        &self,
        shared: &Shared<W>,
        stack: &Stack,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<Cloned> {
        let mut pidfd: RawFd = -1;
        let flags = if self.copies_descriptors {
            IN_THIS_MEMORY
        } else {
            IN_THIS_MEMORY | libc::CLONE_FILES
        };
        let args = CloneArgs::new(flags, &mut pidfd, cgroup)
            .telling_its_end()
            .on_stack(stack, shared.word());
        let call = match cgroup {
            _ if self.has_clone3 => args.by_clone3(),
            None => args.by_clone(),
            Some(_) => return Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        };
        let arg = ptr::from_ref(shared).cast_mut().cast();
        // SAFETY: the arguments point into this frame; the caller vouches for the rest of the memory.
        let mut answer = unsafe { call.run(child_main::<W>, arg) };
        if self.copies_descriptors && cgroup.is_none() && answer.is_err_and(is_denied) {
            // SAFETY: as above.
            answer = unsafe { args.by_clone().run(child_main::<W>, arg) };
        }
        // SAFETY: CLONE_PIDFD made this descriptor for us.
        let cloned = unsafe { made(answer, pidfd) }?;
        cloned.ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// Whether a child lives to exit, in `cgroup` if one is given.
    fn probe(&self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        struct Nothing;
        impl Work for Nothing {
            fn run(&mut self) {}
        }
        Ok(self.run_to_end(Nothing, cgroup)?.1)
    }

    /// Has a child do `work`, and waits for its end.
    pub(super) fn run<W: Work>(&self, work: W) -> io::Result<W> {
        let (work, _) = self.run_to_end(work, None)?;
        work.ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// The same, and whether it has lived to exit.
    fn run_to_end<W: Work>(
        &self,
        work: W,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Option<W>, bool)> {
        let (leader, birth) = self.start(work, cgroup)?;
        let id = WaitId::PidFd(leader.pidfd().as_fd());
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(id.clone(), WaitIdOptions::EXITED)
        })?;
        let work = self.finish(birth);
        Ok((work, status.is_some_and(|status| status.exited())))
    }

    fn take_stack(&self) -> io::Result<Stack> {
        let idle = self.lock_stacks().pop();
        idle.map_or_else(Stack::new, Ok)
    }

    fn put_stack(&self, stack: Stack) {
        let mut stacks = self.lock_stacks();
        if stacks.len() < MAX_IDLE_STACKS {
            stacks.push(stack);
        }
    }

    fn lock_stacks(&self) -> MutexGuard<'_, Vec<Stack>> {
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a child that is born in `cgroup` lives to exit.
pub(super) fn probe(cgroup: BorrowedFd<'_>) -> io::Result<bool> {
    Cloner::unproven().probe(Some(cgroup))
}

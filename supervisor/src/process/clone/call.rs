//! The system calls that make a child: clone3(2), and clone(2) where a filter of syscalls, or an old kernel, has no clone3.

#![expect(
    unsafe_code,
    reason = "clone returns twice, which only assembly can express"
)]

use std::{
    arch::asm,
    ffi::{c_int, c_long, c_void},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use super::{super::raw, stack::Stack};

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process that was just made: its pid, and a pidfd that means it and no other.
#[derive(Debug)]
pub(crate) struct Cloned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// `struct clone_args` of clone3(2), as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
pub(super) struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl CloneArgs {
    /// A child whose pidfd the kernel writes to `pidfd`. If clone3 makes it, it has the default action for every signal
    /// that is handled here, and is born in `cgroup` if one is given.
    pub(super) fn new(flags: c_int, pidfd: &mut RawFd, cgroup: Option<BorrowedFd<'_>>) -> Self {
        let mut args = Self {
            flags: u64::from((flags | libc::CLONE_PIDFD).cast_unsigned()) | CLONE_CLEAR_SIGHAND,
            pidfd: ptr::from_mut(pidfd) as u64,
            ..Self::default()
        };
        if let Some(cgroup) = cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
        }
        args
    }

    /// This process hears of the child's end.
    pub(super) fn telling_its_end(mut self) -> Self {
        self.exit_signal = libc::SIGCHLD as u64;
        self
    }

    /// The child runs on `stack`, and the kernel zeroes `word` when it is out of this memory.
    pub(super) fn on_stack(mut self, stack: &Stack, word: *mut u32) -> Self {
        let (base, size) = stack.range();
        self.stack = base as u64;
        self.stack_size = size as u64;
        self.child_tid = word as u64;
        self
    }

    /// By clone3, which is told all of it.
    pub(super) fn by_clone3(&self) -> Call {
        let address = ptr::from_ref(self) as u64;
        let arguments = [address, size_of::<Self>() as u64, 0, 0, 0, 0];
        Call {
            number: libc::SYS_clone3,
            arguments,
        }
    }

    /// By clone, with what of it can be given there: the flags that have no cgroup, and no default actions.
    pub(super) fn by_clone(&self) -> Call {
        let only_clone3 = CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
        let flags = (self.flags & !only_clone3) | self.exit_signal;
        let stack = self.stack + self.stack_size;
        // Where the parent's tid would go, CLONE_PIDFD writes. The last two are in an order of the machine's own.
        #[cfg(target_arch = "x86_64")]
        let [fourth, fifth] = [self.child_tid, self.tls];
        #[cfg(target_arch = "aarch64")]
        let [fourth, fifth] = [self.tls, self.child_tid];
        Call {
            number: libc::SYS_clone,
            arguments: [flags, stack, self.pidfd, fourth, fifth, 0],
        }
    }
}

/// A system call that makes a child, and what it is given. It points to where its [`CloneArgs`] did.
#[derive(Clone, Copy)]
pub(super) struct Call {
    number: c_long,
    arguments: [u64; 6],
}

/// What a child does that has a stack of its own.
pub(super) type ChildMain = extern "C" fn(*mut c_void) -> !;

impl Call {
    /// Makes a child that goes on from here, with a copy of this memory and 0 as its answer.
    ///
    /// # Safety
    ///
    /// What the arguments point to is there, and the child has no CLONE_VM.
    pub(super) unsafe fn fork(self) -> raw::Answer {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "both machines have 64 bits"
        )]
        let arguments = self.arguments.map(|argument| argument as usize);
        // SAFETY: the caller vouches for the arguments.
        unsafe { raw::syscall(self.number, arguments) }
    }

    /// Makes a child that runs `main` with `arg`, on the stack that it is given; it never returns.
    ///
    /// # Safety
    ///
    /// What the arguments point to is there, the stack and `arg` for as long as the child may use them.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn run(self, main: ChildMain, arg: *mut c_void) -> raw::Answer {
        let [first, second, third, fourth, fifth, _] = self.arguments;
        let result: isize;
        // SAFETY: the child has its own, 16-byte aligned stack and leaves this block only through `main`, which does not
        // return; the parent comes back with nothing but the syscall's own clobbers changed.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r12",
                "call r13",
                "ud2",
                "2:",
                inlateout("rax") self.number => result,
                in("rdi") first,
                in("rsi") second,
                in("rdx") third,
                in("r10") fourth,
                in("r8") fifth,
                in("r12") arg,
                in("r13") main,
                lateout("rcx") _,
                lateout("r11") _,
            );
        }
        raw::answer(result)
    }

    /// Makes a child that runs `main` with `arg`, on the stack that it is given; it never returns.
    ///
    /// # Safety
    ///
    /// What the arguments point to is there, the stack and `arg` for as long as the child may use them.
    #[cfg(target_arch = "aarch64")]
    pub(super) unsafe fn run(self, main: ChildMain, arg: *mut c_void) -> raw::Answer {
        let [first, second, third, fourth, fifth, _] = self.arguments;
        let result: isize;
        // SAFETY: as on x86_64.
        unsafe {
            asm!(
                "svc #0",
                "cbnz x0, 2f",
                "mov x29, xzr",
                "mov x0, x20",
                "blr x21",
                "brk #1",
                "2:",
                inlateout("x0") first => result,
                in("x1") second,
                in("x2") third,
                in("x3") fourth,
                in("x4") fifth,
                in("x8") self.number,
                in("x20") arg,
                in("x21") main,
            );
        }
        raw::answer(result)
    }
}

/// What a call has made; `None` in the child.
///
/// # Safety
///
/// `pidfd` is what CLONE_PIDFD has written, and nobody else's.
pub(super) unsafe fn made(answer: raw::Answer, pidfd: RawFd) -> io::Result<Option<Cloned>> {
    match answer.map_err(io::Error::from_raw_os_error)? {
        0 => Ok(None),
        pid => Ok(Some(Cloned {
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            // SAFETY: as the caller says.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

/// Whether an error says that clone3 is not there, or that a filter lets nobody call it.
pub(super) fn is_denied(errno: i32) -> bool {
    matches!(errno, libc::ENOSYS | libc::EPERM)
}

//! clone3 with CLONE_VFORK and CLONE_VM: a child that shares the server's memory until it executes, so that its cost does
//! not follow the server's size.
//!
//! The calling thread stands still until the child has executed or exited; the child runs on a stack of its own.

#![expect(
    unsafe_code,
    reason = "clone3 returns twice, which only assembly can express"
)]

use std::{
    arch::asm,
    cell::OnceCell,
    ffi::c_void,
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use rustix::process::{WaitId, WaitIdOptions};

/// Bytes of stack for the child between clone and exec; it calls a dozen syscalls and nothing deep.
const STACK_BYTES: usize = 64 * 1024;

/// `struct clone_args` of clone3(2), as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
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

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What the child does with the pointer it is given. It must not return, allocate, lock or unwind.
pub(super) type ChildMain = extern "C" fn(*mut c_void) -> !;

/// A process that was just made: its pid, and a pidfd that means it and no other.
#[derive(Debug)]
pub(super) struct Cloned {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
}

/// Makes a child that runs `main(arg)`, in `cgroup` if one is given, with every signal blocked and every handler reset, and
/// with this process's own table of descriptors. Returns when it has executed or exited.
///
/// # Safety
///
/// `main` must keep to what [`ChildMain`] says, and `arg` must be valid for it until this function returns.
pub(super) unsafe fn vfork(
    cgroup: Option<BorrowedFd<'_>>,
    main: ChildMain,
    arg: *mut c_void,
) -> io::Result<Cloned> {
    thread_local! {
        static STACK: OnceCell<Stack> = const { OnceCell::new() };
    }
    STACK.with(|cell| {
        let stack = match cell.get() {
            Some(stack) => stack,
            None => cell.get_or_init({
                let stack = Stack::new()?;
                || stack
            }),
        };
        let mut pidfd: RawFd = -1;
        let mut args = CloneArgs {
            flags: libc::CLONE_VFORK as u64
                | libc::CLONE_VM as u64
                | libc::CLONE_FILES as u64
                | libc::CLONE_PIDFD as u64
                | CLONE_CLEAR_SIGHAND,
            pidfd: ptr::from_mut(&mut pidfd) as u64,
            exit_signal: libc::SIGCHLD as u64,
            stack: stack.base as u64,
            stack_size: STACK_BYTES as u64,
            ..CloneArgs::default()
        };
        if let Some(cgroup) = cgroup {
            args.flags |= CLONE_INTO_CGROUP;
            args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
        }
        let blocked = SignalsBlocked::new();
        // SAFETY: `args` is a whole clone_args, `stack` is this thread's own and is used by one child at a time, since
        // CLONE_VFORK holds this thread until the child is off it; the caller vouches for `main` and `arg`.
        let result = unsafe { clone3(&raw const args, main, arg) };
        drop(blocked);
        // A pid or a negated errno: either is an int.
        let result = i32::try_from(result).unwrap_or(-libc::EOVERFLOW);
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        // SAFETY: CLONE_PIDFD made this descriptor for us; nobody else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Cloned { pid: result, pidfd })
    })
}

/// Whether a child that is born in `cgroup` lives to exit.
pub(super) fn probe(cgroup: BorrowedFd<'_>) -> io::Result<bool> {
    extern "C" fn exit(_: *mut c_void) -> ! {
        loop {
            // SAFETY: ends this child alone.
            unsafe { libc::syscall(libc::SYS_exit_group, 0) };
        }
    }
    // SAFETY: `exit` does nothing but exit.
    let child = unsafe { vfork(Some(cgroup), exit, ptr::null_mut()) }?;
    let id = WaitId::PidFd(child.pidfd.as_fd());
    let status = rustix::process::waitid(id, WaitIdOptions::EXITED)?;
    Ok(status.is_some_and(|status| status.exited()))
}

/// The raw call: the child's pid in the parent, a negative errno if there is no child. In the child it does not return.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: *const CloneArgs, main: ChildMain, arg: *mut c_void) -> i64 {
    let mut result = libc::SYS_clone3;
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
            inlateout("rax") result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") arg,
            in("r13") main,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// The raw call: the child's pid in the parent, a negative errno if there is no child. In the child it does not return.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: *const CloneArgs, main: ChildMain, arg: *mut c_void) -> i64 {
    let result: i64;
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
            inlateout("x0") args => result,
            in("x1") size_of::<CloneArgs>(),
            in("x8") libc::SYS_clone3,
            in("x20") arg,
            in("x21") main,
        );
    }
    result
}

/// A mapped stack with a guard page below it.
struct Stack {
    map: *mut c_void,
    base: *mut c_void,
}

const GUARD_BYTES: usize = 64 * 1024; // The largest page size of the machines named above.

impl Stack {
    fn new() -> io::Result<Self> {
        // SAFETY: a new private mapping, placed by the kernel.
        let map = unsafe {
            libc::mmap(
                ptr::null_mut(),
                GUARD_BYTES + STACK_BYTES,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: within the mapping.
        let base = unsafe { map.byte_add(GUARD_BYTES) };
        let stack = Self { map, base };
        // SAFETY: the upper part of the mapping made above.
        let result =
            unsafe { libc::mprotect(base, STACK_BYTES, libc::PROT_READ | libc::PROT_WRITE) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; no child is on it when its thread ends.
        unsafe { libc::munmap(self.map, GUARD_BYTES + STACK_BYTES) };
    }
}

/// Every signal blocked in this thread until it is dropped, so that none is handled on the child's stack in memory that
/// is also ours.
struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn new() -> Self {
        // SAFETY: plain sets in locals; sigset_t is valid when zeroed and is filled by the calls.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: restores the mask that `new` read.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut());
        }
    }
}

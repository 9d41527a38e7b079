//! Children that share the server's memory until they execute, so that their cost does not follow the server's size; and
//! that run beside the thread that made them, so that none which the kernel holds can hold that thread.
//!
//! All that such a child uses is in a [`Birth`], which stays where it is until the kernel has said that the child is out of
//! this memory: it zeroes a word (CLONE_CHILD_CLEARTID) at exec and at the child's death, and wakes who waits for that.

#![expect(
    unsafe_code,
    reason = "clone returns twice, which only assembly can express"
)]

use std::{
    arch::asm,
    cell::UnsafeCell,
    ffi::c_void,
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use rustix::{
    io::Errno,
    process::{WaitId, WaitIdOptions},
    thread::futex,
};

use super::{leader::Leader, raw};

/// Bytes of stack for the child between clone and exec; it calls a dozen syscalls and nothing deep.
const STACK_BYTES: usize = 64 * 1024;

/// Stacks that are kept for the next child.
const MAX_IDLE_STACKS: usize = 64;

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

/// What a child does in memory that is not its own: nothing that allocates, locks, unwinds, or touches thread-local
/// storage such as `errno`.
pub(crate) trait Work: Send + 'static {
    /// Returns if it did not execute another program; the child then exits.
    fn run(&mut self);
}

/// A process that was just made: its pid, and a pidfd that means it and no other.
#[derive(Debug)]
pub(crate) struct Cloned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// Makes children, in the way that this kernel lets it.
#[derive(Debug)]
pub(super) struct Cloner {
    has_clone3: bool,
    stacks: Mutex<Vec<Stack>>,
}

/// What a child uses until it has executed or died.
#[derive(Debug)]
pub(super) struct Birth<W: Work> {
    /// `None` only while it is dropped.
    shared: Option<Box<Shared<W>>>,
    stack: Option<Stack>,
}

#[derive(Debug)]
struct Shared<W> {
    /// Zeroed by the kernel when the child is out of this memory.
    word: AtomicU32,
    work: UnsafeCell<W>,
}

// SAFETY: the work is the child's alone until the word is zero, and then its owner's; it is Send itself.
unsafe impl<W: Work> Sync for Shared<W> {}

impl Cloner {
    /// Finds out how children can be made here. `Err`: in no way that gives a pidfd, without which nobody could be ended
    /// for sure.
    pub(super) fn new() -> io::Result<Self> {
        let mut cloner = Self {
            has_clone3: true,
            stacks: Mutex::default(),
        };
        match cloner.probe(None) {
            Err(error) if is_denied(&error) => cloner.has_clone3 = false,
            lives => return lives.map(|_| cloner),
        }
        cloner.probe(None).map_err(|error| {
            let why = format!("no child with a pidfd can be made here (clone3, clone with CLONE_PIDFD, waitid with P_PIDFD; Linux 5.4, or what a container's seccomp filter lets through): {error}");
            io::Error::new(error.kind(), why)
        })?;
        Ok(cloner)
    }

    /// Whether a child has the default action for every signal that this process handles. Those that it ignores, a child
    /// ignores too.
    pub(super) fn resets_handlers(&self) -> bool {
        self.has_clone3
    }

    /// Makes a child that does `work`, with every signal blocked, and with this process's own table of descriptors. It is
    /// born in `cgroup` if one is given.
    pub(super) fn start<W: Work>(
        &self,
        work: W,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<(Leader, Birth<W>)> {
        let stack = self.take_stack()?;
        let shared = Box::new(Shared {
            word: AtomicU32::new(1),
            work: UnsafeCell::new(work),
        });
        let blocked = SignalsBlocked::new();
        let born = Instant::now();
        // SAFETY: the stack is used by nobody else, and it and `shared` stay as long as the word is not zero, which
        // `Birth` sees to.
        let cloned = unsafe { self.clone(&shared, &stack, cgroup) };
        drop(blocked);
        match cloned {
            Ok(cloned) => Ok((
                Leader::new(cloned, born),
                Birth {
                    shared: Some(shared),
                    stack: Some(stack),
                },
            )),
            Err(error) => {
                self.put_stack(stack);
                Err(error)
            }
        }
    }

    /// Takes back what a child has used that is out of it.
    pub(super) fn finish<W: Work>(&self, mut birth: Birth<W>) -> Option<W> {
        if !birth.is_over() {
            return None;
        }
        if let Some(stack) = birth.stack.take() {
            self.put_stack(stack);
        }
        birth.shared.take().map(|shared| shared.work.into_inner())
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
        let word = shared.word.as_ptr() as u64;
        let mut args = CloneArgs {
            flags: libc::CLONE_VM as u64
                | libc::CLONE_FILES as u64
                | libc::CLONE_PIDFD as u64
                | libc::CLONE_CHILD_CLEARTID as u64,
            pidfd: ptr::from_mut(&mut pidfd) as u64,
            child_tid: word,
            exit_signal: libc::SIGCHLD as u64,
            stack: stack.base as u64,
            stack_size: STACK_BYTES as u64,
            ..CloneArgs::default()
        };
        let main = child_main::<W>;
        let arg = ptr::from_ref(shared).cast_mut().cast();
        let result = if self.has_clone3 {
            args.flags |= CLONE_CLEAR_SIGHAND;
            if let Some(cgroup) = cgroup {
                args.flags |= CLONE_INTO_CGROUP;
                args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
            }
            // SAFETY: a whole clone_args; the caller vouches for the memory, and `child_main` does not return.
            unsafe { clone3(&raw const args, main, arg) }
        } else if cgroup.is_some() {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        } else {
            // SAFETY: as above.
            unsafe { clone2(&args, main, arg) }
        };
        // A pid or a negated errno: either is an int.
        let result = i32::try_from(result).unwrap_or(-libc::EOVERFLOW);
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        // SAFETY: CLONE_PIDFD made this descriptor for us; nobody else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Cloned { pid: result, pidfd })
    }

    /// Whether a child lives to exit, in `cgroup` if one is given.
    fn probe(&self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        struct Nothing;
        impl Work for Nothing {
            fn run(&mut self) {}
        }
        let (leader, birth) = self.start(Nothing, cgroup)?;
        let id = WaitId::PidFd(leader.pidfd().as_fd());
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(id.clone(), WaitIdOptions::EXITED)
        })?;
        self.finish(birth);
        Ok(status.is_some_and(|status| status.exited()))
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

    fn lock_stacks(&self) -> std::sync::MutexGuard<'_, Vec<Stack>> {
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Work> Birth<W> {
    /// Whether the child has executed, or died.
    pub(super) fn is_over(&self) -> bool {
        self.shared
            .as_ref()
            .is_none_or(|shared| shared.word.load(Ordering::Acquire) == 0)
    }

    /// Waits for that, no longer than `until`.
    pub(super) fn wait(&self, until: Instant) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        loop {
            let seen = shared.word.load(Ordering::Acquire);
            if seen == 0 {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = rustix::thread::Timespec::try_from(left).ok();
            // The kernel's wake-up is one between processes, hence without PRIVATE. Whatever it answers, the word says.
            match futex::wait(&shared.word, futex::Flags::empty(), seen, left.as_ref()) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                Err(_) => return false,
            }
        }
    }
}

impl<W: Work> Drop for Birth<W> {
    /// What a child may still use is never freed.
    fn drop(&mut self) {
        if !self.is_over() {
            std::mem::forget(self.shared.take());
            std::mem::forget(self.stack.take());
        }
    }
}

/// Whether a child that is born in `cgroup` lives to exit.
pub(super) fn probe(cgroup: BorrowedFd<'_>) -> io::Result<bool> {
    let cloner = Cloner {
        has_clone3: true,
        stacks: Mutex::default(),
    };
    cloner.probe(Some(cgroup))
}

/// Whether clone3 is not there, or a seccomp filter says so.
fn is_denied(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

/// A child in memory of its own, as fork(2) makes it, whose parent is this process's own parent. `None` in the child.
/// Returns as it is called, but for signal handlers, which only clone3 resets.
///
/// # Safety
///
/// This process has one thread.
pub(crate) unsafe fn fork_sibling(cgroup: Option<BorrowedFd<'_>>) -> io::Result<Option<Cloned>> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: libc::CLONE_PARENT as u64 | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    let (address, size) = (ptr::from_mut(&mut args) as usize, size_of::<CloneArgs>());
    // SAFETY: a whole clone_args; without CLONE_VM, the child goes on with a copy of this stack.
    let mut result = unsafe { raw::syscall(libc::SYS_clone3, [address, size, 0, 0, 0, 0]) };
    if matches!(result, Err(libc::ENOSYS | libc::EPERM)) && cgroup.is_none() {
        let flags = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as usize;
        let pidfd = ptr::from_mut(&mut pidfd) as usize;
        // SAFETY: as above; CLONE_PIDFD writes to where the parent's tid would go.
        result = unsafe { raw::syscall(libc::SYS_clone, [flags, 0, pidfd, 0, 0, 0]) };
    }
    match result {
        Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some(Cloned {
            pid: i32::try_from(pid).map_err(io::Error::other)?,
            // SAFETY: CLONE_PIDFD made this descriptor for us; nobody else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        })),
    }
}

extern "C" fn child_main<W: Work>(shared: *mut c_void) -> ! {
    // SAFETY: `Cloner::start` gives a live Shared<W>, whose work nobody else touches until the word is zero.
    let work = unsafe { &*shared.cast::<Shared<W>>() }.work.get();
    // SAFETY: as above.
    unsafe { &mut *work }.run();
    // What it has written is read when this process is gone: the compiler must not take it for lost.
    std::hint::black_box(work);
    raw::exit(127)
}

type ChildMain = extern "C" fn(*mut c_void) -> !;

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

/// The same by clone(2), with what of `args` that can be given there.
#[cfg(target_arch = "x86_64")]
unsafe fn clone2(args: &CloneArgs, main: ChildMain, arg: *mut c_void) -> i64 {
    let mut result = libc::SYS_clone;
    // SAFETY: as in `clone3`.
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
            in("rdi") args.flags | args.exit_signal,
            in("rsi") args.stack + args.stack_size,
            in("rdx") args.pidfd,
            in("r10") args.child_tid,
            in("r8") args.tls,
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

/// The same by clone(2), with what of `args` that can be given there.
#[cfg(target_arch = "aarch64")]
unsafe fn clone2(args: &CloneArgs, main: ChildMain, arg: *mut c_void) -> i64 {
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
            inlateout("x0") args.flags | args.exit_signal => result,
            in("x1") args.stack + args.stack_size,
            in("x2") args.pidfd,
            in("x3") args.tls,
            in("x4") args.child_tid,
            in("x8") libc::SYS_clone,
            in("x20") arg,
            in("x21") main,
        );
    }
    result
}
/// A mapped stack with a guard page below it.
#[derive(Debug)]
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

// SAFETY: memory that this alone owns.
unsafe impl Send for Stack {}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; `Birth` forgets a stack that a child may be on.
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

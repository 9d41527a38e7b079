//! What a child does between clone and exec: raw syscalls on its own task, in the server's memory.
//!
//! Nothing here allocates, locks, unwinds or calls into libc's state: glibc's setuid, for one, would change every thread
//! of the server. The outcome of a failure is left in the shared [`Job`].

#![expect(
    unsafe_code,
    reason = "raw syscalls between clone and exec, where nothing else is allowed"
)]

use std::{
    ffi::{c_char, c_int, c_long, c_uint, c_void},
    ptr,
};

/// One step of the set-up, so that a failure says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Session,
    Terminal,
    Stdio,
    /// The index in [`Job::limits`].
    Limit(usize),
    Niceness,
    Identity,
    WorkingDirectory,
    Exec,
}

/// The user to become.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// One `prlimit64` call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rlimit {
    pub(super) resource: c_uint,
    pub(super) value: libc::rlimit64,
}

/// All that a child needs, made before the clone. The pointers are into memory that outlives the clone call.
pub(super) struct Job<'a> {
    /// Become fds 0, 1 and 2; each is above 2 itself.
    pub(super) stdio: [c_int; 3],
    /// fd 0 is a terminal that is to be the session's own.
    pub(super) terminal: bool,
    /// Signals that the server ignores.
    pub(super) ignored: &'a [c_int],
    pub(super) limits: &'a [Rlimit],
    pub(super) niceness: Option<c_int>,
    pub(super) identity: Option<&'a Identity>,
    pub(super) working_directory: *const c_char,
    pub(super) program: *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) envp: *const *const c_char,
    /// Written by the child if it could not execute: the step, and errno.
    pub(super) failure: Option<(Step, c_int)>,
}

/// The child's main. `job` is a `*mut Job`.
pub(super) extern "C" fn main(job: *mut c_void) -> ! {
    // SAFETY: the parent gives a valid Job and stands still while this runs, so nobody else uses it.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    if let Err(failure) = prepare(job).and_then(|()| execute(job)) {
        job.failure = Some(failure);
    }
    // SAFETY: ends this process alone; it is its own thread group.
    unsafe {
        libc::syscall(libc::SYS_exit_group, 127);
    }
    loop {
        std::hint::spin_loop();
    }
}

type Outcome = Result<(), (Step, c_int)>;

/// Every step but the last. ResourceLimits and niceness come before the user's change, which takes away the right to raise them.
fn prepare(job: &Job<'_>) -> Outcome {
    // SAFETY: syscalls on this task with values and live pointers of `job`.
    unsafe {
        check(Step::Session, libc::syscall(libc::SYS_setsid))?;
        if job.terminal {
            let [stdin, ..] = job.stdio;
            check(
                Step::Terminal,
                libc::syscall(libc::SYS_ioctl, stdin, libc::TIOCSCTTY, 0),
            )?;
        }
        own_descriptors(job)?;
        for (to, from) in (0 as c_int..).zip(job.stdio) {
            check(Step::Stdio, libc::syscall(libc::SYS_dup3, from, to, 0))?;
        }
        // What others in this process, or whoever started it, left inheritable.
        libc::syscall(
            libc::SYS_close_range,
            3 as c_uint,
            c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        for (index, limit) in job.limits.iter().enumerate() {
            check(
                Step::Limit(index),
                libc::syscall(
                    libc::SYS_prlimit64,
                    0,
                    limit.resource,
                    &raw const limit.value,
                    ptr::null_mut::<libc::rlimit64>(),
                ),
            )?;
        }
        if let Some(niceness) = job.niceness {
            check(
                Step::Niceness,
                libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, niceness),
            )?;
        }
        libc::syscall(libc::SYS_umask, 0o022);
        if let Some(identity) = job.identity {
            become_user(identity)?;
        }
        check(
            Step::WorkingDirectory,
            libc::syscall(libc::SYS_chdir, job.working_directory),
        )
    }
}

/// From here on descriptors are the child's alone: a copy of the server's, up to the highest that it needs. To go on
/// without would change the server's.
fn own_descriptors(job: &Job<'_>) -> Outcome {
    let [stdin, stdout, stderr] = job.stdio;
    let above = stdin.max(stdout).max(stderr).max(2).unsigned_abs() + 1;
    // SAFETY: syscalls on this task with plain values.
    unsafe {
        let result = libc::syscall(
            libc::SYS_close_range,
            above,
            c_uint::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        );
        if result == 0 {
            return Ok(());
        }
        check(
            Step::Stdio,
            libc::syscall(libc::SYS_unshare, libc::CLONE_FILES),
        )
    }
}

fn become_user(user: &Identity) -> Outcome {
    // SAFETY: raw syscalls, which change this task alone; `groups` is a live slice.
    unsafe {
        check(
            Step::Identity,
            libc::syscall(libc::SYS_setgroups, user.groups.len(), user.groups.as_ptr()),
        )?;
        check(
            Step::Identity,
            libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid),
        )?;
        check(
            Step::Identity,
            libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid),
        )
    }
}

/// Default signals, then exec. Only returns if that failed.
fn execute(job: &Job<'_>) -> Outcome {
    const SIGNAL_SET_BYTES: usize = 8;
    // The kernel's struct sigaction for SIG_DFL: handler, flags, restorer and mask, all zero.
    let default = [0u64; 4];
    let none = 0u64;
    // SAFETY: plain memory on this stack; clone3 has reset what was handled, this resets what was ignored.
    unsafe {
        for &signal in job.ignored {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                SIGNAL_SET_BYTES,
            );
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            SIGNAL_SET_BYTES,
        );
        check(
            Step::Exec,
            libc::syscall(libc::SYS_execve, job.program, job.argv, job.envp),
        )
    }
}

fn check(step: Step, result: c_long) -> Outcome {
    if result >= 0 {
        return Ok(());
    }
    // SAFETY: errno of the thread that stands still for this child.
    Err((step, unsafe { *libc::__errno_location() }))
}

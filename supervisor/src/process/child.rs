//! What a child does between clone and exec: raw syscalls on its own task, in memory that may be the server's too.
//!
//! Nothing here allocates, locks, unwinds or calls into libc: glibc's setuid, for one, would change every thread of the
//! server, and its `errno` is that of the thread that the child runs beside.

#![expect(
    unsafe_code,
    reason = "raw syscalls between clone and exec, where nothing else is allowed"
)]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_uint},
    os::fd::{AsRawFd, OwnedFd},
    ptr,
    sync::Arc,
};

use super::{
    clone::Work,
    examine,
    gate::Gate,
    isolation::confine::{self, Part},
    lookup::{self, How, Seen},
    plan::{Identity, Judged, Plan, Planned},
    raw,
};

/// What every command begins with, whatever the server was started with.
const UMASK: usize = 0o022;

/// One step of the set-up, so that a failure says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Session,
    Terminal,
    Stdio,
    /// The index in [`Job::limits`].
    Limit(usize),
    Niceness,
    Identity,
    WorkingDirectory,
    Isolation(Part),
    Exec,
}

/// Why a child did not execute its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: c_int,
    /// If it was the exec: what there is to be seen of the program.
    pub(crate) seen: Option<Seen>,
}

/// All that a child needs, made before the clone.
#[derive(Debug)]
pub(crate) struct Job {
    plan: Plan,
    argv: Pointers,
    envp: Pointers,
    /// Become fds 0, 1 and 2; each is above 2 itself.
    stdio: [c_int; 3],
    fourth: Fourth,
    /// What its confinement names.
    ruleset: Option<OwnedFd>,
    /// What holds it back from executing, once all else is done.
    gate: Option<Arc<Gate>>,
    /// The child has come as far as the exec.
    executing: bool,
    /// Written by the child if it could not execute.
    failure: Option<Failure>,
}

/// What is to be with fd 3. Those above it are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fourth {
    /// Closed, as is usual.
    Closed,
    /// It is the child's own already, and stays.
    Kept,
    /// This descriptor, which is above 3, becomes it; and so do the capabilities of this process become those of the
    /// program.
    Given(c_int),
}

/// A C array of C strings, with its null at the end.
#[derive(Debug)]
struct Pointers(Vec<*const c_char>);

// SAFETY: the pointers are into strings on the heap, which move with their job and are never changed.
unsafe impl Send for Pointers {}

impl Pointers {
    fn to(strings: &[CString]) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr());
        Self(pointers.chain([ptr::null()]).collect())
    }
}

impl Job {
    /// A child that is to do what `plan` says.
    pub(crate) fn new(planned: Planned, stdio: [c_int; 3], fourth: Fourth) -> Self {
        let Planned { plan, ruleset } = planned;
        Self {
            argv: Pointers::to(&plan.argv),
            envp: Pointers::to(&plan.environment),
            plan,
            stdio,
            fourth,
            ruleset,
            gate: None,
            executing: false,
            failure: None,
        }
    }

    /// The same, which executes once `gate` is open, if there is one.
    pub(super) fn behind(self, gate: Option<Arc<Gate>>) -> Self {
        Self { gate, ..self }
    }

    /// What the child has done: `None` if it died before it could execute anything.
    pub(crate) fn outcome(&self) -> Option<Result<(), Failure>> {
        match self.failure {
            Some(failure) => Some(Err(failure)),
            None => self.executing.then_some(Ok(())),
        }
    }

    /// What it was to do.
    pub(crate) fn into_plan(self) -> Plan {
        self.plan
    }
}

impl Work for Job {
    fn run(&mut self) {
        let failed = match prepare(self).and_then(|()| pass(self)) {
            Ok(()) => {
                // Volatile, since the compiler sees nobody who reads it before it is false again: exec does not return.
                // SAFETY: a field of our own.
                unsafe { (&raw mut self.executing).write_volatile(true) };
                execute(self)
            }
            Err(failed) => failed,
        };
        self.executing = false;
        let seen =
            (failed.0 == Step::Exec).then(|| lookup::look(&self.plan.program, How::Waiting, true));
        self.failure = Some(Failure {
            step: failed.0,
            errno: failed.1,
            seen,
        });
    }
}

type Failed = (Step, c_int);

/// Waits to be let through.
fn pass(job: &Job) -> Result<(), Failed> {
    match &job.gate {
        Some(gate) if !gate.pass() => Err((Step::Exec, libc::ETIMEDOUT)),
        _ => Ok(()),
    }
}

/// Every step but the last. The first ones are those after which the child holds nothing of the server's, whatever the
/// kernel holds it in later. Limits and niceness come before the user's change, which takes away the right to raise them.
fn prepare(job: &Job) -> Result<(), Failed> {
    call(Step::Session, libc::SYS_setsid, [0; 5])?;
    call(Step::Session, libc::SYS_umask, [UMASK, 0, 0, 0, 0])?;
    if let Some(confinement) = &job.plan.confinement {
        // The ruleset's number means it as long as descriptors are the server's.
        let ruleset = job.ruleset.as_ref().map(AsRawFd::as_raw_fd);
        confinement.restrict(ruleset).map_err(isolation)?;
    }
    own_descriptors(job)?;
    for (to, from) in (0..).zip(job.stdio) {
        call(Step::Stdio, libc::SYS_dup3, [raw::int(from), to, 0, 0, 0])?;
    }
    let (all, mut from) = (c_uint::MAX as usize, 3);
    if job.fourth != Fourth::Closed {
        from = 4;
    }
    if let Fourth::Given(fd) = job.fourth {
        call(Step::Stdio, libc::SYS_dup3, [raw::int(fd), 3, 0, 0, 0])?;
    }
    if call(Step::Stdio, libc::SYS_close_range, [from, all, 0, 0, 0]).is_err() {
        // Before Linux 5.9. What others in this process left inheritable is closed nowhere then; what is the server's own
        // is closed by exec.
        let cloexec = libc::CLOSE_RANGE_CLOEXEC as usize;
        let _ = call(
            Step::Stdio,
            libc::SYS_close_range,
            [from, all, cloexec, 0, 0],
        );
    }
    if job.plan.terminal {
        let request = raw::long(libc::TIOCSCTTY);
        call(Step::Terminal, libc::SYS_ioctl, [0, request, 0, 0, 0])?;
    }
    let plan = &job.plan;
    set_limits(plan)?;
    if let Some(confinement) = &plan.confinement {
        confinement.leave_network().map_err(isolation)?;
    }
    if let Some(identity) = &plan.identity {
        become_user(identity)?;
    }
    if plan.confinement.is_some() {
        confine::drop_capabilities().map_err(isolation)?;
    }
    if matches!(job.fourth, Fourth::Given(_)) {
        pass_capabilities();
    }
    if plan.judged.is_some() {
        return enter(&plan.directory);
    }
    let directory = plan.directory.as_ptr() as usize;
    let entered = call(
        Step::WorkingDirectory,
        libc::SYS_chdir,
        [directory, 0, 0, 0, 0],
    );
    if entered.is_err() && plan.or_root {
        let root = c"/".as_ptr() as usize;
        return call(Step::WorkingDirectory, libc::SYS_chdir, [root, 0, 0, 0, 0]);
    }
    entered
}

/// Limits and niceness.
fn set_limits(plan: &Plan) -> Result<(), Failed> {
    for (index, limit) in plan.limits.iter().enumerate() {
        let value = libc::rlimit64 {
            rlim_cur: limit.soft,
            rlim_max: limit.hard,
        };
        let value = ptr::from_ref(&value) as usize;
        let resource = limit.resource as usize;
        call(
            Step::Limit(index),
            libc::SYS_prlimit64,
            [0, resource, value, 0, 0],
        )?;
    }
    if let Some(niceness) = plan.niceness {
        let which = libc::PRIO_PROCESS as usize;
        call(
            Step::Niceness,
            libc::SYS_setpriority,
            [which, 0, raw::int(niceness), 0, 0],
        )?;
    }
    Ok(())
}

/// Enters a folder by a path that has no links, or does not.
fn enter(directory: &CStr) -> Result<(), Failed> {
    let fd = examine::open_plain(directory).map_err(|errno| (Step::WorkingDirectory, errno))?;
    let arguments = [raw::int(fd), 0, 0, 0, 0];
    call(Step::WorkingDirectory, libc::SYS_fchdir, arguments)?;
    call(Step::WorkingDirectory, libc::SYS_close, arguments)
}

/// From here on descriptors are the child's alone: a copy of the server's, up to the highest that it needs. To go on
/// without would change the server's.
fn own_descriptors(job: &Job) -> Result<(), Failed> {
    let [stdin, stdout, stderr] = job.stdio;
    let fourth = match job.fourth {
        Fourth::Given(fd) => fd,
        Fourth::Kept | Fourth::Closed => 3,
    };
    let above = raw::int(stdin.max(stdout).max(stderr).max(fourth)).wrapping_add(1);
    let all = c_uint::MAX as usize;
    let unshare = libc::CLOSE_RANGE_UNSHARE as usize;
    call(
        Step::Stdio,
        libc::SYS_close_range,
        [above, all, unshare, 0, 0],
    )
    .or_else(|_| {
        let files = libc::CLONE_FILES as usize;
        call(Step::Stdio, libc::SYS_unshare, [files, 0, 0, 0, 0])
    })
}

fn become_user(user: &Identity) -> Result<(), Failed> {
    let (uid, gid) = (user.uid as usize, user.gid as usize);
    let groups = [user.groups.len(), user.groups.as_ptr() as usize, 0, 0, 0];
    call(Step::Identity, libc::SYS_setgroups, groups)?;
    call(Step::Identity, libc::SYS_setresgid, [gid, gid, gid, 0, 0])?;
    call(Step::Identity, libc::SYS_setresuid, [uid, uid, uid, 0, 0])
}

/// Has the program start with the capabilities that this task has, which of another user than root takes away at exec.
fn pass_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    const CAPABILITIES: usize = 64;
    // The kernel's header, and effective, permitted and inheritable sets: the low halves, then the high ones.
    let header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    let (header, address) = (header.as_ptr() as usize, sets.as_mut_ptr() as usize);
    if call(Step::Identity, libc::SYS_capget, [header, address, 0, 0, 0]).is_err() {
        return;
    }
    let [
        _,
        permitted_low,
        inheritable_low,
        _,
        permitted_high,
        inheritable_high,
    ] = &mut sets;
    *inheritable_low = *permitted_low;
    *inheritable_high = *permitted_high;
    // What cannot be passed on is missed when it is used, and said then.
    let _ = call(Step::Identity, libc::SYS_capset, [header, address, 0, 0, 0]);
    let (ambient, raise) = (
        libc::PR_CAP_AMBIENT as usize,
        libc::PR_CAP_AMBIENT_RAISE as usize,
    );
    for capability in 0..CAPABILITIES {
        let _ = call(
            Step::Identity,
            libc::SYS_prctl,
            [ambient, raise, capability, 0, 0],
        );
    }
}

/// Default signals, the filter of system calls, then exec. Only returns if that failed.
fn execute(job: &Job) -> Failed {
    const SIGNAL_SET_BYTES: usize = 8;
    // The kernel's struct sigaction for SIG_DFL: handler, flags, restorer and mask, all zero.
    let default = [0u64; 4];
    let none = 0u64;
    for &signal in &job.plan.reset {
        let default = default.as_ptr() as usize;
        // KILL and STOP have no action but the default.
        let _ = call(
            Step::Exec,
            libc::SYS_rt_sigaction,
            [raw::int(signal), default, 0, SIGNAL_SET_BYTES, 0],
        );
    }
    let (how, none) = (libc::SIG_SETMASK as usize, ptr::from_ref(&none) as usize);
    let _ = call(
        Step::Exec,
        libc::SYS_rt_sigprocmask,
        [how, none, 0, SIGNAL_SET_BYTES, 0],
    );
    if let Some(confinement) = &job.plan.confinement
        && let Err(failed) = confinement.filter()
    {
        return isolation(failed);
    }
    let argv = job.argv.0.as_ptr() as usize;
    let envp = job.envp.0.as_ptr() as usize;
    let executed = match &job.plan.judged {
        None => {
            let program = job.plan.program.as_ptr() as usize;
            call(Step::Exec, libc::SYS_execve, [program, argv, envp, 0, 0])
        }
        Some(judged) => execute_judged(judged, argv, envp),
    };
    match executed {
        Err(failed) => failed,
        Ok(()) => (Step::Exec, 0),
    }
}

fn isolation((part, errno): (Part, c_int)) -> Failed {
    (Step::Isolation(part), errno)
}

/// Executes the file that was judged: by the descriptor that it is opened with now, which nobody can make another's; a script by
/// its path, which its interpreter has to open itself.
fn execute_judged(judged: &Judged, argv: usize, envp: usize) -> Result<(), Failed> {
    let exec = |errno| (Step::Exec, errno);
    let fd = match examine::open_plain(&judged.path) {
        // A link is in its way now, which was not.
        Err(libc::ELOOP) => return Err(exec(libc::ESTALE)),
        opened => opened.map_err(exec)?,
    };
    let (id, _) = examine::identify(fd, How::Waiting).map_err(exec)?;
    if id != judged.id {
        return Err(exec(libc::ESTALE));
    }
    let path = judged.path.as_ptr() as usize;
    if judged.by_path {
        return call(Step::Exec, libc::SYS_execve, [path, argv, envp, 0, 0]);
    }
    let (empty, flags) = (c"".as_ptr() as usize, raw::int(libc::AT_EMPTY_PATH));
    let arguments = [raw::int(fd), empty, argv, envp, flags];
    call(Step::Exec, libc::SYS_execveat, arguments)
}

fn call(step: Step, number: c_long, arguments: [usize; 5]) -> Result<(), Failed> {
    let mut all = [0; 6];
    all[..5].copy_from_slice(&arguments);
    // SAFETY: all calls here act on this task alone, or on descriptors of its own, with values and live pointers of its job.
    match unsafe { raw::syscall(number, all) } {
        Ok(_) => Ok(()),
        Err(errno) => Err((step, errno)),
    }
}

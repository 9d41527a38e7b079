//! How a process spawns the one command that it runs, and looks after its tree without a keeper. The process has one thread, so
//! what takes longer than a moment it does itself.

#![expect(unsafe_code, reason = "takes over a descriptor by its number")]

mod launching;

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    io::{DupFlags, dup3},
    process::getpid,
};

pub(crate) use self::launching::{Groundwork, Launch, Launching};
use super::{
    child::Failure,
    error::StartError,
    leader::{self, Leader},
    leaders,
    resolving::Resolved,
    table::{self, ProcessTable},
    tree::{Keeper, Tree},
};
use crate::codec::{Decoder, Encoder};

/// Signals that are meant for others and reach this process, too: from a terminal, or sent to all of a service; and those of limits on
/// files and time, which this process has from whoever started the server: what cannot be written is an error.
const IGNORED: [i32; 13] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGPIPE,
    libc::SIGALRM,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGXFSZ,
    libc::SIGXCPU,
];

/// The descriptor at which a child has its channel until it executes. It is the null device in this process, so that nothing
/// else ever is there.
const CHANNEL: i32 = 3;

/// Does at once what a keeper would do.
pub(super) fn tell(tree: &Tree, keeper: Keeper) {
    if let (Tree::Cgroup(group), Keeper::IsAsked) = (tree, keeper) {
        // To tell what the kernel holds, if there is a /proc.
        group.answer(ProcessTable::open().ok().as_ref());
    }
}

/// Kills a tree that nobody supervises any more.
pub(super) fn end(leader: &Leader, tree: &Tree) {
    tell(tree, tree.kill(leader));
    // What has not ended yet falls to whoever adopts this process's orphans.
    leader.reap();
}

/// Reaps the children of this process that have ended, but for `leader`.
pub(super) fn reap_orphans(leader: i32) {
    for pid in table::own_children() {
        if pid != leader {
            leaders::reap(pid);
        }
    }
}

/// Why nothing was started. It means something to whoever knows the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotStarted {
    /// The child could not do what it was to do.
    Child(ChildFailure),
    /// There are too many processes, or not enough memory or descriptors.
    Resources {
        /// What was being made.
        making: Making,
        /// The kernel's answer.
        errno: i32,
    },
    /// The kernel has held it for as long as it may take.
    Held,
    /// It could not be written down that it was to be started.
    Storage {
        /// Why.
        why: String,
        /// The disk is full.
        is_full: bool,
    },
}

/// The failure of a child's step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildFailure(Failure);

/// What a start makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Making {
    Streams,
    Group,
    Process,
}

impl Making {
    fn step(self) -> &'static str {
        match self {
            Self::Streams => "make the command's streams",
            Self::Group => "use the command's cgroup",
            Self::Process => "make a process",
        }
    }

    /// For `map_err`.
    fn failed(self) -> impl FnOnce(io::Error) -> NotStarted {
        move |error| NotStarted::Resources {
            making: self,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

impl NotStarted {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        match self {
            Self::Child(ChildFailure(failure)) => {
                out.u8(0);
                failure.encode(out);
            }
            Self::Resources { making, errno } => {
                out.u8(1);
                out.u8(match making {
                    Making::Streams => 0,
                    Making::Group => 1,
                    Making::Process => 2,
                });
                out.i32(*errno);
            }
            Self::Held => out.u8(2),
            Self::Storage { why, is_full } => {
                out.u8(3);
                out.str(why);
                out.bool(*is_full);
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(match from.u8()? {
            0 => Self::Child(ChildFailure(Failure::decode(from)?)),
            1 => Self::Resources {
                making: match from.u8()? {
                    0 => Making::Streams,
                    1 => Making::Group,
                    2 => Making::Process,
                    _ => return None,
                },
                errno: from.i32()?,
            },
            2 => Self::Held,
            3 => Self::Storage {
                why: from.string()?,
                is_full: from.bool()?,
            },
            _ => return None,
        })
    }
}

impl Resolved {
    /// What it means to the caller of this command that it was not started.
    pub fn start_error(&self, why: &NotStarted) -> StartError {
        match why {
            NotStarted::Child(ChildFailure(failure)) => {
                failure.meaning(&self.plan, self.user.as_deref())
            }
            NotStarted::Resources { making, errno } => {
                let source = io::Error::from_raw_os_error(*errno);
                StartError::resources(making.step())(source)
            }
            NotStarted::Held => StartError::Held {
                what: "the program or the working directory does not answer",
            },
            NotStarted::Storage { why, .. } => {
                StartError::resources("write down that it starts")(io::Error::other(why.clone()))
            }
        }
    }
}

/// Readies this process, in a session of its own, for the one command that it runs. Returns `keep` at another number, and what says
/// that a child has ended.
///
/// # Safety
///
/// Nobody but the owner of `keep` may use descriptor 3, which is this module's own from now on. This process has one thread.
pub(crate) unsafe fn begin(keep: OwnedFd) -> io::Result<(OwnedFd, ChildSignals)> {
    let kept = rustix::io::fcntl_dupfd_cloexec(&keep, CHANNEL + 1)?;
    drop(keep);
    // SAFETY: dup3 closes what it was, which the caller allows. It is never closed.
    let mut channel = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(CHANNEL) });
    dup3(open_null()?, &mut channel, DupFlags::CLOEXEC)?;
    rustix::process::setsid()?;
    for signal in IGNORED {
        // SAFETY: no handler is set.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // What it was forked from may leave its children to the kernel; this process waits for its own.
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    rustix::process::set_child_subreaper(Some(getpid()))?;
    leader::is_in_fork();
    Ok((kept, ChildSignals::new()?))
}

/// Gives back what of this process's memory it does not use any more.
pub(crate) fn trim_memory() {
    // SAFETY: touches what nobody has allocated, and there is no other thread.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Readable when a child of this process has ended.
#[derive(Debug)]
pub(crate) struct ChildSignals(OwnedFd);

impl ChildSignals {
    fn new() -> io::Result<Self> {
        // SAFETY: a set that is filled before it is read; what is blocked is blocked for this process's only thread.
        let fd = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd has made it for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Takes note of what was said.
    pub(crate) fn take(&self) {
        let mut said = [0; size_of::<libc::signalfd_siginfo>()];
        // What it says of one child may stand for several.
        while rustix::io::read(&self.0, &mut said).is_ok() {}
    }
}

impl AsFd for ChildSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open_null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

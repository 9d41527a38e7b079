//! How a process spawns the one command that it runs, and looks after its tree without a keeper. The process has one thread, so
//! what takes longer than a moment it does itself.
//!
//! The child is a fork with memory of its own, whoever it is to run as: that memory is small here.

#![expect(
    unsafe_code,
    reason = "forks, and takes over a descriptor by its number"
)]

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use rustix::{
    fs::{Mode, OFlags},
    io::{DupFlags, dup3},
    net::RecvFlags,
    process::getpid,
};

use super::{
    child::{Failure, Fourth, Job},
    clone::{Parent, Work, fork},
    descent::Descent,
    error::StartError,
    group::Fresh,
    leader::Leader,
    leaders,
    plan::Planned,
    pty::Master,
    raw,
    resolving::Resolved,
    running::{Care, Process},
    spec::{StdinSpec, WindowSize},
    stdio::{self, ChildStdio, Stdio},
    table::{self, ProcessTable},
    tree::{Keeper, Tree},
};
use crate::{
    codec::{Decoder, Encoder},
    packet,
};

/// More than the failure of a child takes.
const MAX_FAILURE_BYTES: usize = 16;

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

/// Looks after the tree of the one command.
#[derive(Debug)]
pub(super) struct Solo {
    /// To tell what the kernel holds; `None` without /proc.
    table: Option<ProcessTable>,
}

impl Solo {
    /// Does at once what a keeper would do.
    pub(super) fn tell(&self, tree: &Tree, keeper: Keeper) {
        if let (Tree::Cgroup(group), Keeper::IsAsked) = (tree, keeper) {
            group.answer(self.table.as_ref());
        }
    }

    /// Kills a tree that nobody supervises any more.
    pub(super) fn end(&self, leader: &Leader, tree: &Tree) {
        let keeper = tree.kill(leader);
        self.tell(tree, keeper);
        // What has not ended yet falls to whoever adopts this process's orphans.
        leader.reap();
    }
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

/// What is to be spawned, and where.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) planned: Planned,
    pub(crate) stdin: StdinSpec,
    pub(crate) terminal: Option<WindowSize>,
    /// `None`: the tree is what descends from this process.
    pub(crate) cgroup: Option<Cgroup>,
}

/// A fresh cgroup.
#[derive(Debug)]
pub(crate) struct Cgroup {
    pub(crate) dir: OwnedFd,
    pub(crate) path: PathBuf,
    /// Its memory is limited.
    pub(crate) is_limited: bool,
}

/// A child on its way to its program. Dropped before its end, it is killed.
#[derive(Debug)]
pub(crate) struct Launching {
    /// Where it says why it failed, and which ends when it has executed.
    channel: OwnedFd,
    /// Killed when it is dropped.
    process: Process,
    stdio: Stdio,
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

impl Launching {
    /// Makes everything that the command needs, then the child.
    ///
    /// # Safety
    ///
    /// This process has one thread, and has called [`begin`].
    pub(crate) unsafe fn start(launch: Launch) -> Result<Self, NotStarted> {
        let mut planned = launch.planned;
        let identity = planned.plan.identity.as_ref();
        let uid = identity.map(|user| user.uid);
        let (stdio, childs, terminal) =
            streams(launch.terminal, launch.stdin, uid).map_err(Making::Streams.failed())?;
        let place = Place::open(launch.cgroup)?;
        let null = open_null().map_err(Making::Streams.failed())?;
        let (channel, theirs) = packet::pair().map_err(Making::Process.failed())?;
        // What this process ignores, a program that it executes would ignore, too.
        planned.plan.reset.extend(IGNORED);
        let ends = childs.ends(null.as_fd()).map(|end| end.as_raw_fd());
        let mut job = Job::new(planned, ends, Fourth::Kept);
        let at = Instant::now();
        // SAFETY: the caller's promise.
        let born = match unsafe { fork(place.cgroup(), Parent::This) } {
            Ok(None) => be_child(&mut job, &theirs),
            Ok(Some(cloned)) => Ok(cloned),
            Err(error) => Err(error),
        };
        let leader = Leader::new(born.map_err(Making::Process.failed())?, at);
        let care = Care::Solo(Solo {
            table: ProcessTable::open().ok(),
        });
        Ok(Self {
            channel,
            process: Process::new(leader, place.into_tree(), terminal, care),
            stdio,
        })
    }

    /// What is readable when there is news.
    pub(crate) fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// What has become of it; `Err(self)`: nothing yet.
    pub(crate) fn finish(self) -> Result<Result<(Process, Stdio), NotStarted>, Self> {
        let mut buffer = [0; MAX_FAILURE_BYTES];
        let received = packet::receive(self.channel.as_fd(), RecvFlags::DONTWAIT, &mut buffer);
        let length = match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(self),
            Err(_) => 0,
            Ok((length, _)) => length,
        };
        let failure = Failure::decode(&mut Decoder::new(&buffer[..length]));
        Ok(match (failure, length) {
            (Some(failure), _) => Err(NotStarted::Child(ChildFailure(failure))),
            // It has executed its program, or was killed on its way there; the exit says which of the two.
            (None, 0) => Ok((self.process, self.stdio)),
            (None, _) => Err(Making::Process.failed()(io::ErrorKind::InvalidData.into())),
        })
    }
}

fn streams(
    terminal: Option<WindowSize>,
    stdin: StdinSpec,
    uid: Option<u32>,
) -> io::Result<(Stdio, ChildStdio, Option<Master>)> {
    match terminal {
        Some(size) => {
            stdio::terminal(size, uid).map(|(ours, childs, master)| (ours, childs, Some(master)))
        }
        None => stdio::pipes(stdin).map(|(ours, childs)| (ours, childs, None)),
    }
}

fn open_null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

/// Where the command's tree is to be.
enum Place {
    Group(Fresh),
    Descent(Descent),
}

impl Place {
    fn open(cgroup: Option<Cgroup>) -> Result<Self, NotStarted> {
        match cgroup {
            Some(cgroup) => cgroup
                .open()
                .map(Self::Group)
                .map_err(Making::Group.failed()),
            None => Descent::open()
                .map(Self::Descent)
                .map_err(Making::Process.failed()),
        }
    }

    fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Group(fresh) => Some(fresh.fd()),
            Self::Descent(_) => None,
        }
    }

    fn into_tree(self) -> Tree {
        match self {
            Self::Group(fresh) => Tree::Cgroup(Arc::new(fresh.into_group())),
            Self::Descent(descent) => Tree::Descent(Arc::new(descent)),
        }
    }
}

impl Cgroup {
    fn open(self) -> io::Result<Fresh> {
        let mut fresh = Fresh::from_dir(self.dir, self.path)?;
        if self.is_limited {
            fresh.watch_memory()?;
        }
        Ok(fresh)
    }
}

/// A child's life, in memory of its own. Panics end it.
extern "C" fn be_child(job: &mut Job, theirs: &OwnedFd) -> ! {
    // SAFETY: the number of a descriptor of this process; dup3 closes what it was.
    let mut channel = unsafe { OwnedFd::from_raw_fd(CHANNEL) };
    if dup3(theirs, &mut channel, DupFlags::CLOEXEC).is_err() {
        raw::exit(127);
    }
    job.run();
    if let Some(Err(failure)) = job.outcome() {
        let mut out = Encoder::default();
        failure.encode(&mut out);
        // Nobody is there to be told if this fails.
        let _ = packet::send(channel.as_fd(), &out.into_bytes(), &[]);
    }
    raw::exit(127)
}

//! The start of the one command that this process runs.
//!
//! A child of this process's own user shares this memory until it has executed, which spares the kernel copies of it. One that
//! becomes another user on its way is a fork, with memory of its own.

#![expect(unsafe_code, reason = "makes a child, and has a descriptor of its own")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use rustix::net::RecvFlags;

use super::{CHANNEL, ChildFailure, IGNORED, Making, NotStarted, open_null};
use crate::{
    codec::{Decoder, Encoder},
    packet,
    process::{
        child::{Failure, Fourth, Job},
        clone::{Birth, Cloner, Parent, Work, fork},
        descent::Descent,
        group::Fresh,
        leader::Leader,
        plan::Planned,
        pty::Master,
        raw,
        running::{Care, Process},
        spec::{StdinSpec, WindowSize},
        stdio::{self, ChildStdio, Stdio},
        tree::Tree,
    },
};

/// More than the failure of a child takes.
const MAX_FAILURE_BYTES: usize = 16;

/// What any command needs of this process, made before it is known.
#[derive(Debug)]
pub(crate) struct Groundwork {
    place: Place,
    null: OwnedFd,
    /// Where a child says why it failed, and which ends when it has executed.
    channel: OwnedFd,
    /// The child's end.
    theirs: OwnedFd,
    cloner: Cloner,
}

impl Groundwork {
    /// For a command in the cgroup at a path, a fresh one that a descriptor is open on; `None`: its tree is what descends from this
    /// process.
    pub(crate) fn lay(cgroup: Option<(OwnedFd, PathBuf)>) -> io::Result<Self> {
        let (channel, theirs) = packet::pair()?;
        Ok(Self {
            place: Place::open(cgroup)?,
            null: open_null()?,
            channel,
            theirs,
            cloner: Cloner::apart()?,
        })
    }
}

/// What is to be spawned, and how.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) planned: Planned,
    pub(crate) stdin: StdinSpec,
    pub(crate) terminal: Option<WindowSize>,
    /// The memory of its cgroup is limited.
    pub(crate) is_memory_limited: bool,
}

/// A child on its way to its program. Dropped before its end, it is killed.
#[derive(Debug)]
pub(crate) struct Launching {
    channel: OwnedFd,
    /// What it uses of this memory, if that is not its own.
    birth: Option<Birth<Errand>>,
    /// Killed when it is dropped.
    process: Process,
    stdio: Stdio,
}

impl Launching {
    /// Makes what else the command needs, then the child.
    ///
    /// # Safety
    ///
    /// This process has one thread, and has called [`begin`](super::begin).
    pub(crate) unsafe fn start(launch: Launch, groundwork: Groundwork) -> Result<Self, NotStarted> {
        let Groundwork {
            mut place,
            null,
            channel,
            theirs,
            cloner,
        } = groundwork;
        if launch.is_memory_limited {
            place.watch_memory().map_err(Making::Group.failed())?;
        }
        let mut planned = launch.planned;
        let identity = planned.plan.identity.as_ref();
        let uid = identity.map(|user| user.uid);
        let (stdio, childs, terminal) =
            streams(launch.terminal, launch.stdin, uid).map_err(Making::Streams.failed())?;
        // What this process ignores, a program that it executes would ignore, too.
        planned.plan.reset.extend(IGNORED);
        let ends = childs.ends(null.as_fd()).map(|end| end.as_raw_fd());
        let is_other = planned.plan.identity.is_some();
        let errand = Errand {
            job: Job::new(planned, ends, Fourth::Kept),
            channel: theirs.as_raw_fd(),
        };
        let born = if is_other {
            // SAFETY: the caller's promise.
            unsafe { errand.fork(place.cgroup()) }.map(|leader| (leader, None))
        } else {
            let born = cloner.start(errand, place.cgroup());
            born.map(|(leader, birth)| (leader, Some(birth)))
        };
        let (leader, birth) = born.map_err(Making::Process.failed())?;
        Ok(Self {
            channel,
            birth,
            process: Process::new(leader, place.into_tree(), terminal, Care::Solo),
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
            (None, 0) => match self
                .birth
                .and_then(Birth::into_work)
                .and_then(Errand::failure)
            {
                Some(failure) => Err(NotStarted::Child(ChildFailure(failure))),
                None => Ok((self.process, self.stdio)),
            },
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

/// Where the command's tree is to be.
#[derive(Debug)]
enum Place {
    Group(Fresh),
    Descent(Descent),
}

impl Place {
    fn open(cgroup: Option<(OwnedFd, PathBuf)>) -> io::Result<Self> {
        match cgroup {
            Some((dir, path)) => Fresh::from_dir(dir, path).map(Self::Group),
            None => Descent::open().map(Self::Descent),
        }
    }

    fn watch_memory(&mut self) -> io::Result<()> {
        match self {
            Self::Group(fresh) => fresh.watch_memory(),
            Self::Descent(_) => Ok(()),
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

/// What a child does. Its end of the channel is closed by exec, and by its death: both say that it is out of this memory.
#[derive(Debug)]
struct Errand {
    job: Job,
    channel: RawFd,
}

impl Work for Errand {
    fn run(&mut self) {
        let (from, to) = (raw::int(self.channel), raw::int(CHANNEL));
        let flags = raw::int(libc::O_CLOEXEC);
        // SAFETY: the numbers of descriptors of the child's own table, where nobody else uses this one.
        if unsafe { raw::syscall(libc::SYS_dup3, [from, to, flags, 0, 0, 0]) }.is_ok() {
            self.job.run();
        }
    }
}

impl Errand {
    /// Does it in a child with memory of its own.
    ///
    /// # Safety
    ///
    /// This process has one thread.
    unsafe fn fork(mut self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Leader> {
        let at = Instant::now();
        // SAFETY: the caller's promise.
        match unsafe { fork(cgroup, Parent::This) }? {
            Some(cloned) => Ok(Leader::new(cloned, at)),
            None => be_child(&mut self),
        }
    }

    /// Why it did not execute its program, if it has come to that.
    fn failure(self) -> Option<Failure> {
        self.job.outcome()?.err()
    }
}

/// A child's life, in memory of its own. Panics end it.
extern "C" fn be_child(errand: &mut Errand) -> ! {
    errand.run();
    if let Some(Err(failure)) = errand.job.outcome() {
        let mut out = Encoder::default();
        failure.encode(&mut out);
        // SAFETY: the number of a descriptor of this process, where the errand has put its channel.
        let channel = unsafe { BorrowedFd::borrow_raw(CHANNEL) };
        // Nobody is there to be told if this fails.
        let _ = packet::send(channel, &out.into_bytes(), &[]);
    }
    raw::exit(127)
}

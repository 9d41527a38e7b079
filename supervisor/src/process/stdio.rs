//! A command's streams: pipes or a terminal, and which end is whose.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Gid, Uid},
};

use super::{
    pty::{self, Master},
    spec::{StdinSpec, WindowSize},
};

/// The server's ends of a process's streams, non-blocking.
#[derive(Debug)]
pub enum Stdio {
    /// One pipe each.
    Pipes {
        /// To feed; `None` if it is /dev/null.
        stdin: Option<OwnedFd>,
        /// To read.
        stdout: OwnedFd,
        /// To read.
        stderr: OwnedFd,
    },
    /// The master, twice: what is fed, and what is read.
    Terminal {
        /// To feed.
        input: OwnedFd,
        /// To read.
        output: OwnedFd,
    },
}

/// The child's ends, to be closed here once it runs; each above fd 2.
#[derive(Debug)]
pub(super) enum ChildStdio {
    Pipes {
        /// `None`: the null device.
        stdin: Option<OwnedFd>,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    Terminal(OwnedFd),
}

impl ChildStdio {
    /// What become fds 0, 1 and 2.
    pub(super) fn ends<'a>(&'a self, null: BorrowedFd<'a>) -> [BorrowedFd<'a>; 3] {
        match self {
            Self::Pipes {
                stdin,
                stdout,
                stderr,
            } => [
                stdin.as_ref().map_or(null, AsFd::as_fd),
                stdout.as_fd(),
                stderr.as_fd(),
            ],
            Self::Terminal(slave) => [slave.as_fd(); 3],
        }
    }
}

/// Pipes for a command that gets `stdin`.
pub(super) fn pipes(stdin: StdinSpec) -> io::Result<(Stdio, ChildStdio)> {
    let (child_stdin, stdin) = match stdin {
        StdinSpec::Null => (None, None),
        StdinSpec::Open => {
            let (read, write) = pipe()?;
            (Some(read), Some(non_blocking(write)?))
        }
    };
    let (stdout, child_stdout) = pipe()?;
    let (stderr, child_stderr) = pipe()?;
    let ours = Stdio::Pipes {
        stdin,
        stdout: non_blocking(stdout)?,
        stderr: non_blocking(stderr)?,
    };
    let childs = ChildStdio::Pipes {
        stdin: child_stdin,
        stdout: child_stdout,
        stderr: child_stderr,
    };
    Ok((ours, childs))
}

/// A terminal, which belongs to the user that the command runs as, and its master once more, to control it by.
pub(super) fn terminal(
    size: WindowSize,
    uid: Option<u32>,
) -> io::Result<(Stdio, ChildStdio, Master)> {
    let (master, slave) = pty::open(size)?;
    if let Some(uid) = uid {
        rustix::fs::fchown(slave.as_fd(), Some(Uid::from_raw(uid)), None::<Gid>)?;
    }
    let ours = Stdio::Terminal {
        input: master.try_clone()?.into(),
        output: master.try_clone()?.into(),
    };
    Ok((ours, ChildStdio::Terminal(slave), master))
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Only our end: the other is a file description of its own, and commands expect theirs to block.
fn non_blocking(end: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&end, true)?;
    Ok(end)
}

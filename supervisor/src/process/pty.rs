//! Terminals: a PTY whose master is ours and no child's.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use super::{signal, spec::WindowSize};

/// Both ends of a new terminal of that size: master and slave.
pub(super) fn open(size: WindowSize) -> io::Result<(Master, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    let master = Master(master);
    master.resize(size)?;
    Ok((master, slave))
}

/// The server's end of a terminal. Closing it hangs the terminal up.
#[derive(Debug)]
pub struct Master(OwnedFd);

impl Master {
    /// Another descriptor of it.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Sets the window size; the foreground process group gets WINCH.
    pub fn resize(&self, size: WindowSize) -> io::Result<()> {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(tcsetwinsize(&self.0, size)?)
    }

    /// Sends `signal` to the foreground process group.
    pub fn signal_foreground(&self, number: i32) -> io::Result<()> {
        let group = rustix::termios::tcgetpgrp(&self.0)?;
        signal::group(group.as_raw_nonzero().get(), number)
    }
}

impl AsFd for Master {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<Master> for OwnedFd {
    fn from(master: Master) -> Self {
        master.0
    }
}

//! Terminals: a PTY whose master is ours and no child's.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{
        InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Winsize, tcgetattr,
        tcsetattr, tcsetwinsize,
    },
};

use super::{signal, spec::WindowSize};

/// Both ends of a new terminal of that size: master and slave.
pub(super) fn open(size: WindowSize) -> io::Result<(Master, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    set_modes(&slave)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    let master = Master(master);
    master.resize(size)?;
    Ok((master, slave))
}

/// Sets the modes that a session of sshd begins with, where its client sends those of a terminal of today: the kernel's
/// own, and that what is erased in line mode is a whole character of UTF-8. Each is set by name, so that none depends on
/// what a kernel begins with.
fn set_modes(slave: &OwnedFd) -> io::Result<()> {
    let mut modes = tcgetattr(slave)?;
    modes.input_modes = InputModes::ICRNL | InputModes::IXON | InputModes::IUTF8;
    modes.output_modes = OutputModes::OPOST | OutputModes::ONLCR;
    modes.local_modes = LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::IEXTEN
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE;
    for (index, key) in KEYS {
        modes.special_codes[index] = key;
    }
    Ok(tcsetattr(slave, OptionalActions::Now, &modes)?)
}

/// What is typed for each special character.
const KEYS: [(SpecialCodeIndex, u8); 12] = [
    (SpecialCodeIndex::VINTR, ctrl(b'C')),
    (SpecialCodeIndex::VQUIT, ctrl(b'\\')),
    (SpecialCodeIndex::VERASE, 0x7f),
    (SpecialCodeIndex::VKILL, ctrl(b'U')),
    (SpecialCodeIndex::VEOF, ctrl(b'D')),
    (SpecialCodeIndex::VSTART, ctrl(b'Q')),
    (SpecialCodeIndex::VSTOP, ctrl(b'S')),
    (SpecialCodeIndex::VSUSP, ctrl(b'Z')),
    (SpecialCodeIndex::VREPRINT, ctrl(b'R')),
    (SpecialCodeIndex::VDISCARD, ctrl(b'O')),
    (SpecialCodeIndex::VWERASE, ctrl(b'W')),
    (SpecialCodeIndex::VLNEXT, ctrl(b'V')),
];

/// The control character that a key makes.
const fn ctrl(key: u8) -> u8 {
    key & 0x1f
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

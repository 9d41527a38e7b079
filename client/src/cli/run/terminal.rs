//! The local terminal: raw while the command has it, and back again whatever happens, at the end, on an error, on a panic.
//! It is left alone as long as remex is in its background, where it belongs to somebody else.

use std::{
    os::fd::BorrowedFd,
    panic,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Signal, getpgrp, kill_current_process_group},
    stdio::stdin,
    termios::{
        LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    },
};

use crate::cli::Failure;

/// How often a remex in the background looks whether it is in front: nothing tells it when its job is brought there.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What to go back to.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Whether `fd` is a terminal.
pub(super) fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    isatty(fd)
}

/// Whether the terminal on `fd` is this process's own, and another job is in front of it.
pub(super) fn is_in_background(fd: BorrowedFd<'_>) -> bool {
    // A terminal of another session, or of none, has no say in this one's jobs.
    tcgetpgrp(fd).is_ok_and(|front| front != getpgrp())
}

/// Whether who writes to the terminal on `fd` would be stopped for it.
pub(super) fn may_not_write(fd: BorrowedFd<'_>) -> bool {
    let stops = tcgetattr(fd).is_ok_and(|modes| modes.local_modes.contains(LocalModes::TOSTOP));
    stops && is_in_background(fd)
}

/// Rows and columns of the terminal on stdin; 0 where it does not know.
pub(in crate::cli) fn size() -> Result<(u16, u16), Failure> {
    let size = tcgetwinsize(stdin()).map_err(no_terminal)?;
    Ok((size.ws_row, size.ws_col))
}

fn no_terminal(error: Errno) -> Failure {
    if error == Errno::NOTTY {
        return Failure::new("-t needs a terminal on stdin; run it in one, or leave -t away");
    }
    Failure::new(format!("cannot use the terminal on stdin: {error}"))
}

/// The terminal on stdin, lent to the command.
pub(super) struct LocalTerminal {
    is_raw: bool,
}

impl LocalTerminal {
    /// Raw, unless remex is in the background.
    pub(super) fn new() -> Result<Self, Failure> {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        let mut terminal = Self { is_raw: false };
        terminal.claim()?;
        Ok(terminal)
    }

    pub(super) fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Makes it raw, unless remex is in the background. What it was before is what it will be after.
    pub(super) fn claim(&mut self) -> Result<(), Failure> {
        if is_in_background(stdin()) {
            self.is_raw = false;
            return Ok(());
        }
        let modes = tcgetattr(stdin()).map_err(no_terminal)?;
        let mut raw = modes.clone();
        raw.make_raw();
        // A shell may have set it anew while remex was stopped, or not.
        if !(self.is_raw && is_alike(&modes, &raw)) {
            *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(modes);
            self.is_raw = true;
            tcsetattr(stdin(), OptionalActions::Drain, &raw).map_err(no_terminal)?;
        }
        Ok(())
    }

    /// Stops this job, with the terminal as it was before, until somebody continues it.
    pub(super) fn suspend(&mut self) {
        self.release();
        // Nobody would continue a job whose shell has gone, and the kernel does not stop it.
        let _ = kill_current_process_group(Signal::TSTP);
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.is_raw) && !is_in_background(stdin()) {
            restore();
        }
    }
}

impl Drop for LocalTerminal {
    fn drop(&mut self) {
        self.release();
    }
}

fn is_alike(one: &Termios, other: &Termios) -> bool {
    one.local_modes == other.local_modes
        && one.input_modes == other.input_modes
        && one.output_modes == other.output_modes
        && one.control_modes == other.control_modes
}

fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(saved) = saved {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &saved);
    }
}

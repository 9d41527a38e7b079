//! The local terminal in raw mode, and back again whatever happens: at the end, on an error, on a panic. The signals that
//! would end remex are forwarded, so they end it no more.

use std::{
    panic,
    sync::{Mutex, PoisonError},
};

use rustix::{
    io::Errno,
    stdio::stdin,
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

use crate::cli::Failure;

/// What to go back to.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Rows and columns of the terminal on stdin.
pub(super) fn size() -> Result<(u16, u16), Failure> {
    let size = tcgetwinsize(stdin()).map_err(no_terminal)?;
    Ok((size.ws_row, size.ws_col))
}

fn no_terminal(error: Errno) -> Failure {
    if error == Errno::NOTTY {
        return Failure::new("-t needs a terminal on stdin; run it in one, or leave -t away");
    }
    Failure::new(format!("cannot use the terminal on stdin: {error}"))
}

/// The terminal is raw as long as this lives.
pub(super) struct RawMode(());

impl RawMode {
    pub(super) fn enter() -> Result<Self, Failure> {
        let saved = tcgetattr(stdin()).map_err(no_terminal)?;
        let mut raw = saved.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
        let mode = Self(());
        tcsetattr(stdin(), OptionalActions::Drain, &raw).map_err(no_terminal)?;
        Ok(mode)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(saved) = saved {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &saved);
    }
}

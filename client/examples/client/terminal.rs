//! Our terminal.

use std::io::{self, stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// While there is one, every key is passed on, Ctrl-C too: the command's terminal does what is to be done.
pub(crate) struct RawTerminal(Termios);

impl RawTerminal {
    pub(crate) fn new() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}

/// Rows and columns.
pub(crate) fn size() -> io::Result<(u16, u16)> {
    let size = tcgetwinsize(stdin())?;
    Ok((size.ws_row, size.ws_col))
}

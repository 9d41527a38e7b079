//! Writing to stdout and stderr, where a reader that has gone is no reason to panic.

use std::io::{self, Write};

use anstream::AutoStream;

use super::Failure;

/// Prints `text`, escaped already.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// Prints `text`, escaped already but for its colours: they stay on a terminal that shows colours, unless NO_COLOR is set.
pub(crate) fn styled(text: &str) -> Result<(), Failure> {
    let mut stdout = AutoStream::auto(io::stdout().lock());
    let written = stdout.write_all(text.as_bytes());
    written
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::stdout(&error))
}

/// Prints `bytes` as they are.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes);
    written
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::stdout(&error))
}

/// Prints `bytes` on stderr as they are.
pub(crate) fn error_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let written = io::stderr().lock().write_all(bytes);
    written.map_err(|error| Failure::stdout(&error))
}

/// Prints one line on stderr, escaped already.
pub(crate) fn note(line: &str) {
    let _ = io::stderr()
        .lock()
        .write_all(format!("remex: {line}\n").as_bytes());
}

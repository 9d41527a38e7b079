//! What a daemon says outside of its log. A terminal that was stopped (Ctrl-S) and a full pipe hold up neither serving nor
//! exiting, so a thread of its own waits for them.

use std::{
    fmt::Display,
    io,
    os::fd::BorrowedFd,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use crate::logging::write_all;

/// How long the end of a daemon waits for its last words to be read.
pub const LAST_WORDS: Duration = Duration::from_millis(250);

/// Prints `text` on stdout as soon as that takes it.
pub fn print(text: String) -> io::Result<()> {
    write_aside(rustix::stdio::stdout(), text).map(drop)
}

/// Says on stderr why `program` ends.
pub fn complain(program: &str, why: &dyn Display) {
    let line = format!("{program}: {why}\n");
    let stderr = rustix::stdio::stderr();
    match write_aside(stderr, line.clone()) {
        // Whether it was written or not, it is time to go.
        Ok(written) => drop(written.recv_timeout(LAST_WORDS)),
        // Threads may be what there are none of.
        Err(_) => write_all(stderr, line.as_bytes()),
    }
}

/// Writes in a thread of its own; the channel is closed when that is done.
fn write_aside(to: BorrowedFd<'static>, text: String) -> io::Result<Receiver<()>> {
    let (done, written) = mpsc::channel();
    thread::Builder::new()
        .name("console".to_owned())
        .spawn(move || {
            write_all(to, text.as_bytes());
            drop(done);
        })?;
    Ok(written)
}

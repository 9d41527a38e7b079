//! stdout and stderr, written by a thread of their own in the order in which output came, byte for byte. A reader that
//! does not read holds up the thread and, through the queue's bound, the command; never the loop and its signals.

use std::{io, os::fd::BorrowedFd, thread};

use bytes::Bytes;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use tokio::sync::{mpsc, oneshot};

use super::terminal::{LOOK_AGAIN, may_not_write};
use crate::cli::Failure;

/// Pieces of output that wait to be written, of at most 64 KiB each.
const QUEUE_PIECES: usize = 8;

/// Where a piece goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Stdout,
    Stderr,
}

/// What is to be written. Dropping it is the end.
pub(super) struct Output(mpsc::Sender<(Target, Bytes)>);

/// How the writing went.
pub(super) struct Written(oneshot::Receiver<io::Result<()>>);

/// Starts the thread.
pub(super) fn start() -> Result<(Output, Written), Failure> {
    let (sender, pieces) = mpsc::channel(QUEUE_PIECES);
    let (report, done) = oneshot::channel();
    let write = move || {
        // Nobody listens any more when remex has left.
        let _ = report.send(write_all(pieces));
    };
    thread::Builder::new()
        .name("output".to_owned())
        .spawn(write)
        .map_err(|error| Failure::new(format!("cannot start a thread: {error}")))?;
    Ok((Output(sender), Written(done)))
}

impl Output {
    /// Waits until a piece can be queued; for ever once the thread has failed, which [`Written`] tells.
    pub(super) async fn room(&self) {
        if self.0.reserve().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Queues a piece.
    pub(super) async fn write(&self, target: Target, data: Bytes) {
        // Refused only after a failure, which is told elsewhere.
        let _ = self.0.send((target, data)).await;
    }
}

impl Written {
    /// Waits until all is written, or something cannot be. Cancel-safe; not to be called again once it has answered.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        let stopped = || io::Error::other("the thread that writes has stopped");
        (&mut self.0).await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn write_all(mut pieces: mpsc::Receiver<(Target, Bytes)>) -> io::Result<()> {
    while let Some((target, data)) = pieces.blocking_recv() {
        let fd = match target {
            Target::Stdout => rustix::stdio::stdout(),
            Target::Stderr => rustix::stdio::stderr(),
        };
        write_piece(fd, &data)?;
    }
    Ok(())
}

fn write_piece(fd: BorrowedFd<'_>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        // Stopped, remex would end on no signal.
        while may_not_write(fd) {
            thread::sleep(LOOK_AGAIN);
        }
        match rustix::io::write(fd, data) {
            Ok(written) => data = &data[written..],
            Err(Errno::INTR) => {}
            // Somebody who shares the descriptor has made it non-blocking.
            Err(Errno::AGAIN) => wait_for(fd, PollFlags::OUT)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Blocks until `fd` is ready.
pub(super) fn wait_for(fd: BorrowedFd<'_>, what: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd, what)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

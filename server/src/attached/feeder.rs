//! A command's stdin from callers to its pipe or terminal, no faster than it reads.

use std::{io, os::fd::OwnedFd};

use remex_supervisor::lifecycle::stdin::{Stdin, StdinChunk, StdinError, Taken};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
};

use super::readiness::{register, writable};

/// stdin for a running execution.
#[derive(Debug)]
pub enum StdinRequest {
    /// A piece of it. Answered when all of it has been accepted, with the position up to which stdin has been.
    Chunk(StdinChunk, oneshot::Sender<Result<u64, StdinError>>),
    /// Its end, as by a half-close.
    Close,
}

/// What feeds one command.
#[derive(Debug)]
pub(super) struct Feeder {
    /// `None`: there is no stdin, or it has been closed.
    fd: Option<AsyncFd<OwnedFd>>,
    /// A terminal is not closed when stdin has ended.
    terminal: bool,
    stdin: Stdin,
    /// A chunk for which there was no room; no other is taken before it.
    waiting: Option<(StdinChunk, oneshot::Sender<Result<u64, StdinError>>)>,
}

impl Feeder {
    pub(super) fn new(fd: Option<OwnedFd>, terminal: bool, stdin: Stdin) -> io::Result<Self> {
        let register = |fd| register(fd, Interest::WRITABLE);
        Ok(Self {
            fd: fd.map(register).transpose()?,
            terminal,
            stdin,
            waiting: None,
        })
    }

    /// Position up to which stdin has been accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.stdin.accepted()
    }

    /// Whether another request may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_none()
    }

    /// Returns when the command takes more, if there is more.
    pub(super) async fn writable(&self) {
        writable(self.fd.as_ref(), self.stdin.has_next()).await;
    }

    /// Takes what a caller gives.
    pub(super) fn take(&mut self, request: StdinRequest) {
        match request {
            StdinRequest::Close => self.stdin.close(),
            StdinRequest::Chunk(chunk, answer) => self.offer(chunk, answer),
        }
        self.feed();
    }

    /// Gives the command as much as it takes.
    pub(super) fn feed(&mut self) {
        loop {
            self.write();
            match self.waiting.take() {
                Some((chunk, answer)) => self.offer(chunk, answer),
                None => return,
            }
            if self.waiting.is_some() {
                return;
            }
        }
    }

    /// Closes it: what waits, and what still comes, is dropped.
    pub(super) fn close(&mut self) {
        self.fd = None;
        self.stdin.discard();
    }

    fn offer(&mut self, chunk: StdinChunk, answer: oneshot::Sender<Result<u64, StdinError>>) {
        // Whoever does not wait for the answer any more needs none.
        match self.stdin.offer(chunk) {
            Ok(Taken::Part(rest)) => self.waiting = Some((rest, answer)),
            Ok(Taken::Whole) => drop(answer.send(Ok(self.stdin.accepted()))),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn write(&mut self) {
        let Some(fd) = &self.fd else {
            return self.stdin.discard();
        };
        while let Some(bytes) = self.stdin.front() {
            match fd.try_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?)) {
                Ok(written) => self.stdin.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The command has closed its stdin, which is its own affair and no failure.
                Err(_) => return self.close(),
            }
        }
        if self.stdin.is_finished() && !self.terminal {
            self.fd = None;
        }
    }
}

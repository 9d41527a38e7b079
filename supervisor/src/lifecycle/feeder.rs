//! A command's stdin to its pipe or terminal, no faster than it reads.

use std::{io, os::fd::OwnedFd, time::Duration};

use super::{
    port::{Descriptor, Interest, Port, Watched},
    stdin::{Stdin, StdinChunk, StdinError, Taken},
};

/// What became of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// All of it has been accepted, up to this position.
    Accepted(u64),
    /// There is no room for all of it; no other is taken until there was.
    Waiting,
}

/// What feeds one command.
#[derive(Debug)]
pub(super) struct Feeder<F> {
    /// `None`: there is no stdin, or it has been closed.
    port: Option<Port<F>>,
    /// A terminal is not closed when stdin has ended.
    terminal: bool,
    stdin: Stdin,
    /// The rest of a chunk for which there was no room.
    waiting: Option<StdinChunk>,
}

impl<F: Watched> Feeder<F> {
    pub(super) fn new(fd: Option<OwnedFd>, terminal: bool, stdin: Stdin) -> Self {
        let watched = |fd| Port::watched(Descriptor::Stream(fd), Interest::Writable);
        Self {
            port: fd.map(watched),
            terminal,
            stdin,
            waiting: None,
        }
    }

    /// Position up to which stdin has been accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.stdin.accepted()
    }

    /// Bytes that the command has not taken.
    pub(super) fn waiting_bytes(&self) -> usize {
        let waiting = self.waiting.as_ref().map_or(0, |chunk| chunk.data.len());
        self.stdin.queued() + waiting
    }

    /// Whether another chunk may be offered.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_none()
    }

    /// What the host waits for, if there is something to write.
    pub(super) fn awaited(&self) -> Option<&F> {
        let port = self.port.as_ref().filter(|_| self.stdin.has_next());
        port.and_then(Port::awaited)
    }

    /// When the command is to be fed without it having been announced that it takes more.
    pub(super) fn look_at(&self) -> Option<Duration> {
        let port = self.port.as_ref().filter(|_| self.stdin.has_next());
        port.and_then(Port::look_at)
    }

    /// Whether that is due by `now`.
    pub(super) fn wake_if_due(&mut self, now: Duration) -> bool {
        self.port.as_mut().is_some_and(|port| port.wake_if_due(now))
    }

    /// Takes a chunk, only while [`Self::has_room`].
    pub(super) fn offer(&mut self, now: Duration, chunk: StdinChunk) -> Result<Fed, StdinError> {
        match self.stdin.offer(chunk)? {
            Taken::Whole => {}
            Taken::Part(rest) => self.waiting = Some(rest),
        }
        self.feed(now);
        Ok(if self.has_room() {
            Fed::Accepted(self.accepted())
        } else {
            Fed::Waiting
        })
    }

    /// The end of stdin, as by a half-close; only while [`Self::has_room`].
    pub(super) fn end(&mut self, now: Duration) {
        self.stdin.close();
        self.feed(now);
    }

    /// Gives the command as much as it takes.
    pub(super) fn feed(&mut self, now: Duration) {
        loop {
            self.write(now);
            let Some(chunk) = self.waiting.take() else {
                return;
            };
            // The rest of a chunk begins where the accepted part of it ended, so it is no hole.
            if let Ok(Taken::Part(rest)) = self.stdin.offer(chunk) {
                self.waiting = Some(rest);
                return;
            }
        }
    }

    /// Drops the rest of a chunk for which there was no room.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting = None;
    }

    /// Closes it: what waits, and what still comes, is dropped.
    pub(super) fn close(&mut self) {
        self.port = None;
        self.stdin.discard();
        self.waiting = None;
    }

    fn write(&mut self, now: Duration) {
        let Some(port) = &mut self.port else {
            return self.stdin.discard();
        };
        while let Some(bytes) = self.stdin.front() {
            match port.try_io(now, false, |fd| Ok(rustix::io::write(fd, bytes)?)) {
                Ok(written) => self.stdin.advance(written),
                // What a terminal does not take while nobody holds it open is dropped: nobody would ever announce room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.terminal && port.is_hung_up() {
                        self.stdin.drop_queued();
                    }
                    return;
                }
                // Its leader may open it again.
                Err(_) if self.terminal => self.stdin.drop_queued(),
                // The command has closed its stdin, which is its own affair and no failure.
                Err(_) => return self.close(),
            }
        }
        if self.stdin.is_finished() && !self.terminal {
            self.port = None;
        }
    }
}

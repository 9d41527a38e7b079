//! The streams of a command that are read: one terminal, or stdout and stderr. Times are since the spawn.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{buffer::spare_capacity, pipe::fcntl_setpipe_size};

use super::{
    output::{MAX_OUTPUT_BYTES, OutputStream, STREAMS},
    port::{Descriptor, Interest, Port, Watched},
};

/// A pipe that is read in full reads is made this large, where the kernel allows it.
const PIPE_BYTES: usize = 1024 * 1024;

/// All of a command's output.
#[derive(Debug)]
pub(super) struct Outputs<F> {
    streams: [Option<Output<F>>; STREAMS],
    /// Nothing is watched yet: when it will be.
    watch_at: Option<Duration>,
    /// Whose turn it is where both have something: the one that was not read last, so that a flood on one starves no other.
    turn: usize,
}

impl<F: Watched> Outputs<F> {
    pub(super) fn pipes(stdout: OwnedFd, stderr: OwnedFd) -> Self {
        let stdout = Output::new(OutputStream::Stdout, stdout);
        Self::of([
            Some(stdout),
            Some(Output::new(OutputStream::Stderr, stderr)),
        ])
    }

    pub(super) fn terminal(master: OwnedFd) -> Self {
        Self::of([Some(Output::new(OutputStream::Terminal, master)), None])
    }

    fn of(streams: [Option<Output<F>>; STREAMS]) -> Self {
        Self {
            streams,
            watch_at: None,
            turn: 0,
        }
    }

    /// Has the host announce what there is to read, from `now` on.
    pub(super) fn watch(&mut self, now: Duration) {
        self.watch_at = None;
        for output in self.streams.iter_mut().flatten() {
            output.port.watch(now);
        }
    }

    /// Leaves the command alone until `at`, when it is to be watched.
    pub(super) fn watch_at(&mut self, at: Duration) {
        self.watch_at = Some(at);
    }

    /// Whether it is to be watched only later.
    pub(super) fn are_unwatched(&self) -> bool {
        self.watch_at.is_some()
    }

    /// Whether it is to be watched by `now`.
    pub(super) fn is_watch_due(&self, now: Duration) -> bool {
        self.watch_at.is_some_and(|at| at <= now)
    }

    /// Ends the rest of all streams.
    pub(super) fn wake(&mut self) {
        for output in self.streams.iter_mut().flatten() {
            output.port.wake();
        }
    }

    /// When something is to be looked at that nobody announces.
    pub(super) fn look_at(&self) -> Option<Duration> {
        let ports = self.streams.iter().flatten();
        let looks = ports.filter_map(|output| output.port.look_at());
        looks.chain(self.watch_at).min()
    }

    /// The indices, with the stream whose turn it is first.
    pub(super) fn in_turn(&self) -> [usize; STREAMS] {
        [self.turn, 1 - self.turn]
    }

    /// The stream at `index`, unless it has ended.
    pub(super) fn get(&self, index: usize) -> Option<&Output<F>> {
        self.streams[index].as_ref()
    }

    /// The same, to be read: the turn is the other's then.
    pub(super) fn take_turn(&mut self, index: usize) -> Option<&mut Output<F>> {
        self.turn = 1 - index;
        self.streams[index].as_mut()
    }

    /// The same, to be looked at.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Output<F>> {
        self.streams[index].as_mut()
    }

    /// Closes the stream at `index`, unless it has been.
    pub(super) fn close(&mut self, index: usize) -> Option<OutputStream> {
        self.streams[index].take().map(|output| output.stream)
    }

    /// Whether a process still has one of them open for writing.
    pub(super) fn are_held_open(&self) -> bool {
        let mut outputs = self.streams.iter().flatten();
        outputs.any(|output| !output.port.is_hung_up())
    }

    /// Bytes that can be read at once of each.
    pub(super) fn unread(&self) -> [usize; STREAMS] {
        self.streams
            .each_ref()
            .map(|output| output.as_ref().map_or(0, Output::unread))
    }
}

/// The server's end of a pipe or of a terminal. Nothing tells that there is something to read until it is watched.
#[derive(Debug)]
pub(super) struct Output<F> {
    pub(super) stream: OutputStream,
    pub(super) port: Port<F>,
    enlarged: bool,
}

impl<F: Watched> Output<F> {
    fn new(stream: OutputStream, fd: OwnedFd) -> Self {
        Self {
            stream,
            port: Port::new(Descriptor::Stream(fd), Interest::Readable),
            enlarged: false,
        }
    }

    /// Appends a read to `buffer`, as much as fits and at most `most`; 0 is the end. `ask` has the kernel asked even if nothing
    /// was announced.
    pub(super) fn read(
        &mut self,
        now: Duration,
        ask: bool,
        most: usize,
        buffer: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let result = self
            .port
            .try_io(now, ask, |fd| read_at_most(fd, most, buffer));
        match result {
            Ok(bytes) => {
                if bytes == MAX_OUTPUT_BYTES && !self.enlarged {
                    self.enlarged = true;
                    // Not allowed past the user's share of pipe memory, and not possible on a terminal.
                    let fd = self.port.descriptor();
                    let _ = fd.map(|fd| fcntl_setpipe_size(fd, PIPE_BYTES));
                }
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // EIO is how a terminal's output ends.
            Err(_) => Ok(0),
        }
    }

    /// Bytes that can be read at once.
    fn unread(&self) -> usize {
        self.port
            .descriptor()
            .and_then(|fd| rustix::io::ioctl_fionread(fd.as_fd()).ok())
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(0)
    }
}

/// One read, appended to `buffer`: as much as its capacity takes, and at most `most`.
fn read_at_most(fd: BorrowedFd<'_>, most: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if most >= buffer.capacity() - buffer.len() {
        return Ok(rustix::io::read(fd, spare_capacity(buffer))?);
    }
    let mut part = vec![0; most];
    let bytes = rustix::io::read(fd, &mut part)?;
    buffer.extend_from_slice(&part[..bytes]);
    Ok(bytes)
}

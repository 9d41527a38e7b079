//! The streams of a command that are read: one terminal, or stdout and stderr.

use std::{cell::RefCell, io, os::fd::OwnedFd, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::fcntl_setpipe_size,
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    output::{MAX_OUTPUT_BYTES, Stream},
    readiness::{readable, register},
};

/// A pipe that is read in full reads is made this large, where the kernel allows it.
const PIPE_BYTES: usize = 1024 * 1024;

/// All of a command's output, and when it is looked at. Times are since the spawn.
#[derive(Debug)]
pub(super) struct Readers {
    streams: [Option<Reader>; STREAMS],
    /// Nothing is watched yet: when it will be.
    watch_at: Option<Duration>,
    /// Nobody holds the terminal open, and the leader lives: when it is looked at again.
    rests_until: Option<Duration>,
}

/// The most streams that a command has.
pub(super) const STREAMS: usize = 2;

impl Readers {
    pub(super) fn pipes(stdout: OwnedFd, stderr: OwnedFd) -> Self {
        let stdout = Reader::new(Stream::Stdout, stdout);
        Self::of([Some(stdout), Some(Reader::new(Stream::Stderr, stderr))])
    }

    pub(super) fn terminal(master: OwnedFd) -> Self {
        Self::of([Some(Reader::new(Stream::Terminal, master)), None])
    }

    fn of(streams: [Option<Reader>; STREAMS]) -> Self {
        Self {
            streams,
            watch_at: None,
            rests_until: None,
        }
    }

    /// Has the kernel announce what there is to read, from now on. An error closes what cannot be watched.
    pub(super) fn watch(&mut self) -> io::Result<()> {
        self.watch_at = None;
        self.streams
            .iter_mut()
            .flatten()
            .try_for_each(Reader::watch)
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

    /// Leaves a terminal alone until `until`.
    pub(super) fn rest(&mut self, until: Duration) {
        self.rests_until = Some(until);
    }

    /// Ends a terminal's rest.
    pub(super) fn wake(&mut self) {
        self.rests_until = None;
    }

    /// The same if it is over by `now`; whether it was.
    pub(super) fn wake_if_due(&mut self, now: Duration) -> bool {
        self.rests_until.take_if(|until| *until <= now).is_some()
    }

    /// When something is to be looked at that nobody announces.
    pub(super) fn next_look(&self) -> Option<Duration> {
        [self.watch_at, self.rests_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Bytes that can be read at once.
    pub(super) fn unread(&self) -> usize {
        self.streams.iter().flatten().map(Reader::unread).sum()
    }

    /// What may be read at `index`; `None`: it has ended, or rests.
    pub(super) fn stream(&self, index: usize) -> Option<Stream> {
        let reader = self.streams[index].as_ref();
        reader
            .filter(|_| self.rests_until.is_none())
            .map(|reader| reader.stream)
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Reader> {
        self.streams[index].as_mut()
    }

    /// Closes the stream at `index`, unless it has been.
    pub(super) fn close(&mut self, index: usize) -> Option<Stream> {
        self.streams[index].take().map(|reader| reader.stream)
    }

    /// Whether all of it has ended.
    pub(super) fn have_ended(&self) -> bool {
        self.streams.iter().all(Option::is_none)
    }

    /// Whether a process still has one of them open for writing.
    pub(super) fn are_held_open(&self) -> bool {
        self.streams.iter().flatten().any(Reader::is_held_open)
    }

    /// Returns the index of a stream with something to read, among the `wanted` ones. Cancel-safe.
    pub(super) async fn readable(&self, wanted: [bool; STREAMS]) -> usize {
        let [first, second] = &self.streams;
        tokio::select! {
            biased;
            () = Reader::readable(first.as_ref(), wanted[0]) => 0,
            () = Reader::readable(second.as_ref(), wanted[1]) => 1,
        }
    }
}

/// The server's end of a pipe or of a terminal. Nothing tells that there is something to read until it is watched.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) stream: Stream,
    source: Source,
    enlarged: bool,
}

#[derive(Debug)]
enum Source {
    Unwatched(Option<OwnedFd>),
    Watched(AsyncFd<OwnedFd>),
}

impl Reader {
    fn new(stream: Stream, fd: OwnedFd) -> Self {
        Self {
            stream,
            source: Source::Unwatched(Some(fd)),
            enlarged: false,
        }
    }

    /// Has the kernel announce what there is to read, from now on. An error closes it.
    fn watch(&mut self) -> io::Result<()> {
        if let Source::Unwatched(fd) = &mut self.source
            && let Some(fd) = fd.take()
        {
            self.source = Source::Watched(register(fd, Interest::READABLE)?);
        }
        Ok(())
    }

    /// Appends a read to `buffer`, as much as fits; 0 is the end. `now` asks the kernel even if nothing was announced.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, now: bool) -> io::Result<usize> {
        let mut read = |fd: &OwnedFd| Ok(rustix::io::read(fd, spare_capacity(buffer))?);
        let result = match &self.source {
            Source::Unwatched(fd) => fd.as_ref().map_or(Ok(0), read),
            Source::Watched(fd) => match fd.try_io(Interest::READABLE, &mut read) {
                Err(error) if now && error.kind() == io::ErrorKind::WouldBlock => {
                    read(fd.get_ref())
                }
                result => result,
            },
        };
        match result {
            Ok(bytes) => {
                if bytes == MAX_OUTPUT_BYTES && !self.enlarged {
                    self.enlarged = true;
                    // Not allowed past the user's share of pipe memory, and not possible on a terminal.
                    let _ = self.fd().map(|fd| fcntl_setpipe_size(fd, PIPE_BYTES));
                }
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // EIO is how a terminal's output ends.
            Err(_) => Ok(0),
        }
    }

    /// The same, where `take` gets what was read, and nobody keeps a buffer meanwhile.
    pub(super) fn read_to(&mut self, now: bool, take: impl FnOnce(&[u8])) -> io::Result<usize> {
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(MAX_OUTPUT_BYTES));
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let bytes = self.read(buffer, now)?;
            take(buffer);
            Ok(bytes)
        })
    }

    /// Returns when there is something to read, if that is wanted; never if there is no reader, or it is not watched.
    async fn readable(reader: Option<&Self>, wanted: bool) {
        let watched = reader.and_then(|reader| match &reader.source {
            Source::Unwatched(_) => None,
            Source::Watched(fd) => Some(fd),
        });
        readable(watched, wanted).await;
    }

    /// Bytes that can be read at once.
    fn unread(&self) -> usize {
        self.fd()
            .and_then(|fd| rustix::io::ioctl_fionread(fd).ok())
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(0)
    }

    /// Whether a process still has it open for writing; the kernel says HUP when none has.
    fn is_held_open(&self) -> bool {
        self.fd().is_some_and(|fd| {
            let mut polled = [PollFd::new(fd, PollFlags::empty())];
            match poll(&mut polled, Some(&Timespec::default())) {
                Ok(_) => !polled[0].revents().contains(PollFlags::HUP),
                Err(_) => true,
            }
        })
    }

    fn fd(&self) -> Option<&OwnedFd> {
        match &self.source {
            Source::Unwatched(fd) => fd.as_ref(),
            Source::Watched(fd) => Some(fd.get_ref()),
        }
    }
}

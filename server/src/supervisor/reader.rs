//! One stream of a command that is read.

use std::{io, os::fd::OwnedFd};

use rustix::{buffer::spare_capacity, pipe::fcntl_setpipe_size};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    output::{MAX_OUTPUT_BYTES, Stream},
    readiness::{readable, register},
};

/// A pipe that is read in full reads is made this large, where the kernel allows it.
const PIPE_BYTES: usize = 1024 * 1024;

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
    pub(super) fn new(stream: Stream, fd: OwnedFd) -> Self {
        Self {
            stream,
            source: Source::Unwatched(Some(fd)),
            enlarged: false,
        }
    }

    /// Has the kernel announce what there is to read, from now on. An error closes it.
    pub(super) fn watch(&mut self) -> io::Result<()> {
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

    /// Returns when there is something to read, if that is wanted; never if there is no reader, or it is not watched.
    pub(super) async fn readable(reader: Option<&Self>, wanted: bool) {
        let watched = reader.and_then(|reader| match &reader.source {
            Source::Unwatched(_) => None,
            Source::Watched(fd) => Some(fd),
        });
        readable(watched, wanted).await;
    }

    /// Bytes that can be read at once.
    pub(super) fn unread(&self) -> usize {
        self.fd()
            .and_then(|fd| rustix::io::ioctl_fionread(fd).ok())
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(0)
    }

    fn fd(&self) -> Option<&OwnedFd> {
        match &self.source {
            Source::Unwatched(fd) => fd.as_ref(),
            Source::Watched(fd) => Some(fd.get_ref()),
        }
    }
}

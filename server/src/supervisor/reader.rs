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

/// The server's end of a pipe or of a terminal.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) stream: Stream,
    fd: AsyncFd<OwnedFd>,
    enlarged: bool,
}

impl Reader {
    pub(super) fn new(stream: Stream, fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stream,
            fd: register(fd, Interest::READABLE)?,
            enlarged: false,
        })
    }

    /// Appends a read to `buffer`, as much as fits; 0 is the end. `now` asks the kernel even if nothing was announced.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, now: bool) -> io::Result<usize> {
        let mut read = |fd: &OwnedFd| Ok(rustix::io::read(fd, spare_capacity(buffer))?);
        let result = match self.fd.try_io(Interest::READABLE, &mut read) {
            Err(error) if now && error.kind() == io::ErrorKind::WouldBlock => {
                read(self.fd.get_ref())
            }
            result => result,
        };
        match result {
            Ok(bytes) => {
                if bytes == MAX_OUTPUT_BYTES && !self.enlarged {
                    self.enlarged = true;
                    // Not allowed past the user's share of pipe memory, and not possible on a terminal.
                    let _ = fcntl_setpipe_size(&self.fd, PIPE_BYTES);
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

    /// Returns when there is something to read, if that is wanted; never if there is no reader.
    pub(super) async fn readable(reader: Option<&Self>, wanted: bool) {
        readable(reader.map(|reader| &reader.fd), wanted).await;
    }

    /// Bytes that can be read at once.
    pub(super) fn unread(&self) -> usize {
        rustix::io::ioctl_fionread(self.fd.get_ref())
            .ok()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(0)
    }
}

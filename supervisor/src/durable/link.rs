//! A server's end of the way to a supervisor.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use bytes::Bytes;
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt},
    process::geteuid,
};

use super::{
    message::{LinkRequest, MAX_PACKET_BYTES, Report, VERSION},
    order::{MAX_INLINE_BYTES, MAX_ORDER_BYTES, Order},
};
use crate::{packet, process::DurablePlace};

/// The socket's name in an execution's folder.
pub const SOCKET_FILE: &str = "supervisor.socket";

/// A server's end. It never waits; as a descriptor it is readable when there is a report, or the supervisor's end.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    /// What is spoken: this version, until the supervisor says otherwise.
    version: u16,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

impl Link {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            version: VERSION,
        }
    }

    /// To the supervisor that listens in an execution's folder. `ConnectionRefused` and `NotFound` say that none does, and
    /// `WouldBlock` that too many ask at the moment.
    pub fn connect(folder: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // A path of its own may be longer than a socket's address takes.
        let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", folder.as_raw_fd());
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        if sockopt::socket_peercred(&socket)?.uid != geteuid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Self::new(socket))
    }

    /// Sends a request. `WouldBlock`: there is no room for it now.
    pub fn send(&self, request: &LinkRequest) -> io::Result<()> {
        self.send_with(request, &[])
    }

    /// Sends [`LinkRequest::Place`] with the cgroup of the execution's tree, if it has one; before [`Self::prepare`].
    pub fn place(&self, place: &DurablePlace) -> io::Result<()> {
        let Some((dir, path)) = place.cgroup() else {
            return Ok(());
        };
        let path = path.to_owned();
        self.send_with(&LinkRequest::Place { path }, &[dir])
    }

    /// Sends [`LinkRequest::Prepare`] with the execution's folder.
    pub fn prepare(&self, folder: BorrowedFd<'_>, id: &str) -> io::Result<()> {
        let request = LinkRequest::Prepare { id: id.to_owned() };
        self.send_with(&request, &[folder])
    }

    /// Sends [`LinkRequest::Start`] with what is to be run.
    pub fn start(&self, order: &Order, place: &DurablePlace) -> io::Result<()> {
        let bytes = order.encode(place);
        if bytes.len() > MAX_ORDER_BYTES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let long = bytes.len() > MAX_INLINE_BYTES;
        let file = long.then(|| packet::seal("order", &bytes)).transpose()?;
        let fds: Vec<_> = file
            .as_ref()
            .into_iter()
            .chain(&order.resolved.ruleset)
            .map(AsFd::as_fd)
            .collect();
        let order = if long { Bytes::new() } else { bytes.into() };
        self.send_with(&LinkRequest::Start { order }, &fds)
    }

    fn send_with(&self, request: &LinkRequest, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        packet::send(self.as_fd(), &request.encode(self.version), fds)
    }

    /// The next report; `None`: the supervisor has ended, or has another link. `WouldBlock`: there is none yet. `InvalidData`: it
    /// speaks something else.
    pub fn receive(&mut self) -> io::Result<Option<Report>> {
        loop {
            let packet = match packet::receive_whole(self.as_fd(), MAX_PACKET_BYTES) {
                Ok((packet, _)) => packet,
                // Said once where the other end has gone without having read all; what it had sent comes behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                Err(error) => return Err(error),
            };
            if packet.is_empty() {
                return Ok(None);
            }
            match Report::decode(&packet) {
                Ok(Some(report)) => {
                    if let Report::Welcome { version, .. } = report {
                        self.version = version.min(VERSION);
                    }
                    return Ok(Some(report));
                }
                // From a later version, of something that this one does not know.
                Ok(None) => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

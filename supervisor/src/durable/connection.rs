//! A supervisor's end of its ways to servers: the one that it listens to, and those who want to be that one.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::PollFlags,
    fs::{AtFlags, unlinkat},
    io::Errno,
    net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
        socket_with, sockopt,
    },
    process::{chdir, fchdir, geteuid},
};

use super::{
    link::SOCKET_FILE,
    message::{LinkRequest, MAX_PACKET_BYTES, Malformed, OLDEST_VERSION, Report, VERSION},
};
use crate::packet;

/// Most servers that have connected and not said yet what they speak.
const MAX_NEWCOMERS: usize = 4;

/// How many may wait to be accepted.
const BACKLOG: i32 = 8;

/// One server.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    version: u16,
    /// What there was no room for. While there is any, no request is read, so that it does not grow.
    outgoing: VecDeque<Vec<u8>>,
    is_broken: bool,
}

/// A request, with its descriptors.
pub(super) type Received = (LinkRequest, Vec<OwnedFd>);

impl Connection {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            version: VERSION,
            outgoing: VecDeque::new(),
            is_broken: false,
        }
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        if self.outgoing.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        }
    }

    /// Whether everything was sent.
    pub(super) fn is_idle(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Whether the server has gone, or was not understood.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The server was not understood.
    pub(super) fn give_up(&mut self) {
        self.is_broken = true;
    }

    /// Speaks what the server speaks, too.
    pub(super) fn agree(&mut self, newest: u16) -> u16 {
        self.version = newest.clamp(OLDEST_VERSION, VERSION);
        self.version
    }

    /// Sends `report`, or keeps it until there is room.
    pub(super) fn send(&mut self, report: &Report) {
        self.outgoing.push_back(report.encode(self.version));
        self.flush();
    }

    /// Sends what was kept.
    pub(super) fn flush(&mut self) {
        while let Some(packet) = self.outgoing.front() {
            match packet::send(self.socket.as_fd(), packet, &[]) {
                Ok(()) => drop(self.outgoing.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.outgoing.clear();
                    self.is_broken = true;
                }
            }
        }
    }

    /// The next request that this version knows; `None` if there is none now.
    pub(super) fn receive(&mut self) -> Option<Received> {
        while self.is_idle() && !self.is_broken {
            match packet::receive_whole(self.socket.as_fd(), MAX_PACKET_BYTES) {
                Ok((packet, fds)) if !packet.is_empty() => match LinkRequest::decode(&packet) {
                    Ok(Some(request)) => return Some((request, fds)),
                    Ok(None) => {}
                    Err(Malformed) => self.is_broken = true,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // Said once where the server has gone without having read all; what it had sent comes behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Ok(_) | Err(_) => self.is_broken = true,
            }
        }
        None
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Where servers connect that come later than the first.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    newcomers: VecDeque<Connection>,
}

impl Listener {
    /// Listens in `folder`.
    pub(super) fn bind(folder: BorrowedFd<'_>) -> io::Result<Self> {
        match unlinkat(folder, SOCKET_FILE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // By its name alone: a path may be longer than an address takes.
        fchdir(folder)?;
        let bound = bind(&socket, &SocketAddrUnix::new(SOCKET_FILE)?);
        chdir("/")?;
        bound?;
        listen(&socket, BACKLOG)?;
        Ok(Self {
            socket,
            newcomers: VecDeque::new(),
        })
    }

    /// Accepts whoever is of this process's own user.
    pub(super) fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // An error says that there is nobody, or no descriptor for anybody: then it is tried again at the next look.
        while let Ok(socket) = accept_with(&self.socket, flags) {
            let peer = sockopt::socket_peercred(&socket);
            if peer.is_ok_and(|peer| peer.uid == geteuid()) {
                if self.newcomers.len() == MAX_NEWCOMERS {
                    self.newcomers.pop_front();
                }
                self.newcomers.push_back(Connection::new(socket));
            }
        }
    }

    /// Those who have connected.
    pub(super) fn newcomers(&self) -> impl Iterator<Item = &Connection> {
        self.newcomers.iter()
    }

    /// One who has said hello, and the newest version that it speaks. Whoever says anything else goes.
    pub(super) fn next_greeted(&mut self) -> Option<(Connection, u16)> {
        for index in 0..self.newcomers.len() {
            let newcomer = &mut self.newcomers[index];
            match newcomer.receive() {
                Some((LinkRequest::Hello { newest }, _)) => {
                    return self.newcomers.remove(index).map(|server| (server, newest));
                }
                Some(_) => newcomer.give_up(),
                None => {}
            }
        }
        self.newcomers.retain(|newcomer| !newcomer.is_broken());
        None
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

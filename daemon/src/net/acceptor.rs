//! The accept loop's body: a permit first, then a connection. Whose it is, its own task asks, so that a crowd leaves the
//! kernel's queue as fast as it comes. The loop never spins: what the machine is short of (descriptors, memory) makes it pause,
//! also across calls that were cancelled.

use std::{future, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use rustix::event::{EventfdFlags, eventfd};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use super::{
    Backoff, BoundAddress, Caller, Listener, ListeningSocket, Locality, PeerCgroup, PeerStream,
    PeerUnknown, TcpInfo, Transport, identify_tcp,
};
use crate::logging::LineLimit;

/// Descriptors that a listener keeps for connections, for when all others are used up.
pub const RESERVE: usize = 4;

/// How much is accepted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Connections that are open at once; further ones wait in the kernel's queue.
    pub connections: usize,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self { connections: 1024 }
    }
}

impl AcceptLimits {
    /// The permits of one acceptor, or of several that share a limit.
    pub fn permits(self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(self.connections))
    }
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted {
    /// Its bytes.
    pub stream: PeerStream,
    /// As accept told it, since one that is gone cannot be asked for any more. `None` for a Unix socket.
    peer: Option<SocketAddr>,
    /// To be held as long as the connection is open.
    pub permit: OwnedSemaphorePermit,
}

impl Accepted {
    /// Asks the kernel who it is from; the unknown are to be refused.
    pub fn identify(&self) -> Result<Caller, PeerUnknown> {
        match (&self.stream, self.peer) {
            (PeerStream::Tcp(stream), Some(peer)) => identify_stream(stream, peer),
            (PeerStream::Tcp(stream), None) => identify_stream(stream, stream.peer_addr()?),
            (PeerStream::Unix(stream), _) => {
                let peer = stream.peer_cred()?;
                Ok(Caller {
                    cgroup: PeerCgroup::of(peer.pid()),
                    ..Caller::unix(peer.uid())
                })
            }
        }
    }
}

/// A socket whose connections are accepted.
#[derive(Debug)]
pub struct Acceptor {
    socket: ListeningSocket,
    permits: Arc<Semaphore>,
    backoff: Backoff,
    /// No accept before this.
    resume_at: Option<Instant>,
    reserve: Reserve,
    /// Those that say that connections cannot be accepted.
    lines: LineLimit,
    /// That they can again has not been said yet.
    owes_line: bool,
}

/// Descriptors that stand for connections to come.
#[derive(Debug, Default)]
struct Reserve(Vec<OwnedFd>);

impl Reserve {
    fn fill(&mut self) {
        while self.0.len() < RESERVE {
            match eventfd(0, EventfdFlags::CLOEXEC) {
                Ok(kept) => self.0.push(kept),
                Err(_) => return,
            }
        }
    }

    /// Gives one up, if it is descriptors that `error` is for want of.
    fn make_room(&mut self, error: &io::Error) -> bool {
        let scarce = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        scarce && self.0.pop().is_some()
    }
}

impl Acceptor {
    /// Takes the listener into the current runtime.
    pub fn new(listener: Listener, permits: Arc<Semaphore>) -> io::Result<Self> {
        Ok(Self::of(ListeningSocket::new(listener)?, permits))
    }

    /// Of a socket that others may accept from, too.
    pub fn of(socket: ListeningSocket, permits: Arc<Semaphore>) -> Self {
        let mut reserve = Reserve::default();
        reserve.fill();
        Self {
            socket,
            permits,
            backoff: Backoff::default(),
            resume_at: None,
            reserve,
            lines: LineLimit::new(),
            owes_line: false,
        }
    }

    /// What it accepts from.
    pub fn socket(&self) -> &ListeningSocket {
        &self.socket
    }

    /// Where it listens.
    pub fn local(&self) -> &BoundAddress {
        self.socket.local()
    }

    /// The next connection, once there is a permit for it. Cancel-safe: a connection is accepted and returned, or stays
    /// in the queue. Pends for ever if the permits' semaphore is closed.
    pub async fn accept(&mut self) -> Accepted {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return future::pending().await;
        };
        self.reserve.fill();
        loop {
            if let Some(resume_at) = self.resume_at {
                sleep_until(resume_at).await;
                self.resume_at = None;
            }
            // From here to the return nothing waits, so no accepted connection can be lost.
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    self.succeed();
                    return Accepted {
                        stream,
                        peer,
                        permit,
                    };
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(local = %self.local(), %error, "a connection was gone before it was accepted");
                }
                Err(error) if self.reserve.make_room(&error) => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        // A peer can have it fail and succeed in turn.
        if !self.backoff.is_failing() && self.lines.count().is_some() {
            tracing::error!(local = %self.local(), %error, "cannot accept connections; trying again");
            self.owes_line = true;
        }
        self.resume_at = Some(Instant::now() + self.backoff.fail());
    }

    fn succeed(&mut self) {
        self.backoff.succeed();
        if self.owes_line {
            tracing::info!(local = %self.local(), "accepting connections again");
            self.owes_line = false;
        }
    }
}

/// Errors that were pending on the accepted connection, which is gone with them; accept(2) lists them.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EINTR
                | libc::EPERM
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::ENONET
                | libc::ETIMEDOUT
        )
    )
}

fn identify_stream(stream: &TcpStream, peer: SocketAddr) -> Result<Caller, PeerUnknown> {
    let locality = identify_tcp(peer, stream.local_addr()?);
    // Asked last: as long as our end is connected, nobody else can be at the other one.
    if matches!(locality, Locality::Local { .. }) && TcpInfo::of(stream)?.is_closed() {
        return Err(PeerUnknown::NoOwner(peer));
    }
    locality.caller(Transport::Tcp, peer)
}

//! A listening socket in the runtime.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use tokio::net::{TcpListener, UnixListener};

use super::{BoundAddress, Listener, PeerStream, listener::Socket, socket_file::SocketFile};
use crate::handover::{Handover, WITH_FILE};

/// A [`Listener`] in the runtime. Clones are the same socket, which is closed with the last of them.
#[derive(Debug, Clone)]
pub struct ListeningSocket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    // Before the socket, as in `Listener`.
    file: Option<SocketFile>,
    socket: AsyncSocket,
    local: BoundAddress,
}

#[derive(Debug)]
enum AsyncSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListeningSocket {
    /// Takes `listener` into the current runtime.
    pub fn new(listener: Listener) -> io::Result<Self> {
        let socket = match listener.socket {
            Socket::Tcp(socket) => AsyncSocket::Tcp(TcpListener::from_std(socket)?),
            Socket::Unix(socket) => AsyncSocket::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Self(Arc::new(Shared {
            file: listener.file,
            socket,
            local: listener.local,
        })))
    }

    /// Where it listens.
    pub fn local(&self) -> &BoundAddress {
        &self.0.local
    }

    /// Leaves it to the program that is executed next in this process, as a listener of `key`.
    pub fn hand_over(&self, key: &str, to: &mut Handover) -> io::Result<()> {
        let Some(file) = &self.0.file else {
            return to.add(key, self);
        };
        to.add(format!("{key}{WITH_FILE}"), self)?;
        file.leave();
        Ok(())
    }

    /// The next connection, and where it is from over TCP.
    pub(super) async fn accept(&self) -> io::Result<(PeerStream, Option<SocketAddr>)> {
        match &self.0.socket {
            AsyncSocket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok((PeerStream::Tcp(stream), Some(peer)))
            }
            AsyncSocket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((PeerStream::Unix(stream), None))
            }
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.socket {
            AsyncSocket::Tcp(socket) => socket.as_fd(),
            AsyncSocket::Unix(socket) => socket.as_fd(),
        }
    }
}

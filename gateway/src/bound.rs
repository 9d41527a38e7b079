//! A legacy listener and its socket.

use std::{io, net::SocketAddr, sync::Arc};

use remex_daemon::{
    Handover,
    admission::Access,
    net::{Address, BindError, BoundAddress, HandedSockets, ListeningSocket},
};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::{
    config::{Kind, Legacy, ListenerConfig},
    counts::ListenerCounts,
};

/// The key of legacy listeners, after which sockets that are handed over for them are named.
const KEY: &str = "legacy";

/// A legacy listener that has its socket.
#[derive(Debug, Clone)]
pub struct Bound {
    legacy: Legacy,
    /// What the socket was bound to, which the kernel has made [`Self::local`] of.
    asked: Address,
    socket: BoundSocket,
    local: BoundAddress,
    counts: Arc<ListenerCounts>,
}

/// Clones are the same socket.
#[derive(Debug, Clone)]
pub(crate) enum BoundSocket {
    Stream(ListeningSocket),
    Datagram(Arc<UdpSocket>, SocketAddr),
}

impl Bound {
    /// Binds `legacy`, in the runtime, unless its socket was `handed` over.
    pub fn bind(legacy: Legacy, handed: &HandedSockets) -> Result<Self, BindError> {
        let asked = legacy.listener.kind.address();
        let failed = |source| BindError::Io {
            address: asked.clone(),
            source,
        };
        let (socket, local) = match &legacy.listener.kind {
            Kind::Stream { address, .. } => {
                let listener = handed.listen(KEY, address)?;
                let socket = ListeningSocket::new(listener).map_err(failed)?;
                let local = socket.local().clone();
                (BoundSocket::Stream(socket), local)
            }
            Kind::Datagram { address, .. } => {
                let socket = match handed.receive(KEY, *address) {
                    Some(socket) => socket,
                    None => bind_udp(*address).map_err(|error| udp_error(*address, error))?,
                };
                let socket = UdpSocket::from_std(socket).map_err(failed)?;
                let local = socket.local_addr().map_err(failed)?;
                let socket = BoundSocket::Datagram(Arc::new(socket), local);
                (socket, BoundAddress::Udp(local))
            }
        };
        Ok(Self {
            legacy,
            asked,
            socket,
            local,
            counts: Arc::default(),
        })
    }

    /// What was asked for.
    pub fn listener(&self) -> &ListenerConfig {
        &self.legacy.listener
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn local(&self) -> &BoundAddress {
        &self.local
    }

    /// Whether `legacy` is this one.
    pub(crate) fn is(&self, legacy: &Legacy) -> bool {
        self.legacy == *legacy
    }

    /// Whether the socket of `legacy` is this one's. The permissions of a Unix socket may be others.
    pub(crate) fn has_socket_of(&self, legacy: &Legacy) -> bool {
        let is_stream = |kind: &Kind| matches!(kind, Kind::Stream { .. });
        let kind = &legacy.listener.kind;
        is_stream(&self.legacy.listener.kind) == is_stream(kind)
            && self.asked.is_same_socket(&kind.address())
    }

    /// Whether the socket is as it was asked for last: the permissions of a Unix socket stay what they were when it was bound.
    pub(crate) fn is_as_asked(&self) -> bool {
        self.asked == self.legacy.listener.kind.address()
    }

    /// `legacy` on the socket of this one, whose counts it goes on with if it is the same service.
    #[must_use]
    pub(crate) fn with(&self, legacy: Legacy) -> Self {
        let is_same = self.legacy.listener.name() == legacy.listener.name();
        Self {
            counts: if is_same {
                Arc::clone(&self.counts)
            } else {
                Arc::default()
            },
            legacy,
            ..self.clone()
        }
    }

    /// What its socket was bound to.
    pub(crate) fn asked(&self) -> &Address {
        &self.asked
    }

    pub(crate) fn hand_over(&self, to: &mut Handover) -> io::Result<()> {
        match &self.socket {
            BoundSocket::Stream(socket) => socket.hand_over(KEY, to),
            BoundSocket::Datagram(socket, _) => to.add(KEY, socket),
        }
    }

    pub(crate) fn access(&self) -> Access {
        Access {
            users: self.legacy.users.clone(),
            allow: self.legacy.listener.allow.clone(),
        }
    }

    pub(crate) fn socket(&self) -> &BoundSocket {
        &self.socket
    }

    pub(crate) fn counts(&self) -> &Arc<ListenerCounts> {
        &self.counts
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn udp_error(address: SocketAddr, error: io::Error) -> BindError {
    let asked = Address::Tcp(address);
    match Errno::from_io_error(&error) {
        Some(Errno::ADDRINUSE) => BindError::InUse(asked),
        Some(Errno::ACCESS) => BindError::Denied(asked),
        Some(Errno::ADDRNOTAVAIL) => BindError::NotLocal(address),
        _ => BindError::Io {
            address: asked,
            source: error,
        },
    }
}

//! Binding. An IPv6 listener takes IPv6 alone, whatever net.ipv6.bindv6only says: each address means what it says,
//! `[::]` and `0.0.0.0` can stand side by side, and no caller's address comes in two spellings.

use std::{
    fmt, io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};

use super::{
    Address, UnixAddress, authority, peer,
    socket_file::{self, Failure, SocketFile},
};

/// Connections that the kernel holds while none is accepted, at most: net.core.somaxconn (4096 unless it is set) bounds it, too.
/// The SYN of one more is dropped, and its client tries again after a second.
pub const BACKLOG: i32 = 65_535;

/// A silent TCP connection is probed this often, and is gone when this many probes in a row went unanswered: a machine that
/// sleeps for a while keeps its connections.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(1);
/// See [`KEEPALIVE_INTERVAL`].
pub const KEEPALIVE_PROBES: u32 = 15;

/// A bound, listening socket. Dropping it closes it, and removes a Unix socket's file if that is still its own.
#[derive(Debug)]
pub struct Listener {
    // Before the socket: while that is open, its inode is nobody else's.
    pub(super) file: Option<SocketFile>,
    pub(super) socket: Socket,
    pub(super) local: BoundAddress,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(std::net::TcpListener),
    Unix(UnixListener),
}

/// Where something listens; as a URL if it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    /// `tcp://127.0.0.1:50051`.
    Tcp(SocketAddr),
    /// `udp://127.0.0.1:8081`.
    Udp(SocketAddr),
    /// `unix:///run/x.sock`.
    Unix(PathBuf),
}

impl BoundAddress {
    /// As [`fmt::Display`], with `scheme` (`http`) in place of `tcp`; a Unix socket stays `unix://`.
    pub fn with_scheme(&self, scheme: &str) -> String {
        match self {
            Self::Tcp(address) => format!("{scheme}://{}", authority(*address)),
            Self::Udp(_) | Self::Unix(_) => self.to_string(),
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{}", authority(*address)),
            Self::Udp(address) => write!(f, "udp://{}", authority(*address)),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// The address cannot be listened on. Each message names it; which flag it came from, the caller adds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another program has it.
    #[error("{}", in_use(.0))]
    InUse(Address),
    /// A low port, or a folder that may not be written to.
    #[error("{}", denied(.0))]
    Denied(Address),
    /// Not an address of this machine.
    #[error("{0} is no address of this machine; give one that it has, or 127.0.0.1")]
    NotLocal(SocketAddr),
    /// Something else is at the socket's path.
    #[error("{0} is there and is no socket, so it is left alone; remove it, or give another path")]
    NotASocket(PathBuf),
    /// The socket's folder is missing.
    #[error("the folder of {0} does not exist; make it, or give another path")]
    NoFolder(PathBuf),
    /// The socket's name is too long for the kernel.
    #[error("the name of {0} is too long for a Unix socket; give a shorter one")]
    NameTooLong(PathBuf),
    /// There is no such group.
    #[error("there is no group `{0}` on this machine")]
    NoGroup(String),
    /// The daemon's user is not in the group.
    #[error("the socket may not be given to the group `{0}`; the daemon's user has to be in it")]
    GroupDenied(String),
    /// This daemon itself has it, in another spelling: what was asked for, and what is served.
    #[error(
        "{}: {} is served by this very daemon, and only one of both can be; a restart changes from one to the other",
        .0.0, .0.1
    )]
    Overlaps(Box<(Address, Address)>),
    /// Anything else.
    #[error("cannot listen on {address}: {source}")]
    Io {
        /// What was asked for.
        address: Address,
        /// What the kernel says.
        source: io::Error,
    },
}

impl BindError {
    /// The same of a daemon that serves `served`, which may be what is in the way.
    #[must_use]
    pub fn beside<'a>(self, served: impl IntoIterator<Item = &'a Address>) -> Self {
        let Self::InUse(asked) = self else {
            return self;
        };
        let other = served.into_iter().find(|one| asked.overlaps(one)).cloned();
        match other {
            Some(served) => Self::Overlaps(Box::new((asked, served))),
            None => Self::InUse(asked),
        }
    }

    /// Whether it is for want of IPv4 on this machine that there is no listener.
    pub fn lacks_ipv4(&self) -> bool {
        match self {
            Self::NotLocal(address) => address.is_ipv4(),
            Self::Io {
                address: Address::Tcp(address),
                source,
            } => address.is_ipv4() && source.raw_os_error() == Some(libc::EAFNOSUPPORT),
            _ => false,
        }
    }
}

fn in_use(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!(
            "port {} of {} is taken by another program; give another one, or port 0 for any that is free",
            address.port(),
            address.ip()
        ),
        Address::Unix(unix) => format!(
            "another program listens on {}; stop it, or give another path",
            unix.path.display()
        ),
    }
}

fn denied(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!(
            "port {} of {} may not be listened on by this user; give one from 1024 up",
            address.port(),
            address.ip()
        ),
        Address::Unix(unix) => format!(
            "{} may not be made by this user; give a path in a folder that it may write to",
            unix.path.display()
        ),
    }
}

impl Listener {
    /// Binds and listens. A stale Unix socket is replaced, nothing else ever is.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        match address {
            Address::Tcp(tcp) => Self::bind_tcp(*tcp).map_err(|errno| tcp_error(*tcp, errno)),
            Address::Unix(unix) => Self::bind_unix(unix).map_err(|why| unix_error(unix, why)),
        }
    }

    /// Of a socket that listens at `local` already, and does not block. With `left` its file is another program's as long as that is
    /// true.
    pub(super) fn handed(
        socket: OwnedFd,
        local: BoundAddress,
        left: Option<Arc<AtomicBool>>,
    ) -> Result<Self, Errno> {
        let mut file = None;
        let socket = if let BoundAddress::Unix(path) = &local {
            file = left.and_then(|is_left| socket_file::adopt(path, is_left));
            Socket::Unix(socket.into())
        } else {
            keep_alive(&socket)?;
            sockopt::set_tcp_nodelay(&socket, true)?;
            prepare_for_peers();
            Socket::Tcp(socket.into())
        };
        Ok(Self {
            // Unless it was left to this one, whoever has made the file removes it.
            file,
            socket,
            local,
        })
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn local(&self) -> BoundAddress {
        self.local.clone()
    }

    fn bind_tcp(address: SocketAddr) -> Result<Self, Errno> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        // A port whose old connections linger is free; one that somebody listens on is not.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        keep_alive(&socket)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        let local = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
        prepare_for_peers();
        Ok(Self {
            file: None,
            socket: Socket::Tcp(socket.into()),
            local: BoundAddress::Tcp(local),
        })
    }

    fn bind_unix(address: &UnixAddress) -> Result<Self, Failure> {
        let (socket, file): (OwnedFd, _) = socket_file::listen(address)?;
        Ok(Self {
            file: Some(file),
            socket: Socket::Unix(socket.into()),
            local: BoundAddress::Unix(address.path.clone()),
        })
    }
}

fn prepare_for_peers() {
    if let Err(error) = peer::prepare() {
        tracing::warn!(
            %error,
            "the kernel does not say whose a local connection over TCP is (sock_diag): local callers are refused here; \
             over a Unix socket, unix:/PATH, they are known and served"
        );
    }
}

/// Accepted connections have this from their listener, as they have TCP_NODELAY.
fn keep_alive(socket: &OwnedFd) -> Result<(), Errno> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)
}

fn tcp_error(address: SocketAddr, errno: Errno) -> BindError {
    match errno {
        Errno::ADDRINUSE => BindError::InUse(Address::Tcp(address)),
        Errno::ACCESS => BindError::Denied(Address::Tcp(address)),
        Errno::ADDRNOTAVAIL => BindError::NotLocal(address),
        errno => BindError::Io {
            address: Address::Tcp(address),
            source: errno.into(),
        },
    }
}

fn unix_error(address: &UnixAddress, why: Failure) -> BindError {
    let path = || address.path.clone();
    let group = || address.group.clone().unwrap_or_default();
    let asked = || Address::Unix(address.clone());
    match why {
        Failure::InUse => BindError::InUse(asked()),
        Failure::NotASocket => BindError::NotASocket(path()),
        Failure::NoFolder => BindError::NoFolder(path()),
        Failure::NoGroup => BindError::NoGroup(group()),
        Failure::GroupDenied => BindError::GroupDenied(group()),
        Failure::Os(Errno::ACCESS | Errno::PERM) => BindError::Denied(asked()),
        Failure::Os(Errno::NAMETOOLONG) => BindError::NameTooLong(path()),
        Failure::Os(errno) => BindError::Io {
            address: asked(),
            source: errno.into(),
        },
    }
}

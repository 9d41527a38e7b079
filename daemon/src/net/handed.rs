//! Sockets that whoever started the daemon has bound for it, as sd_listen_fds(3) has it. The configuration says what is served;
//! a listener whose socket is here is taken from here instead of being bound.

#![expect(unsafe_code, reason = "takes over descriptors by their numbers")]

use std::{
    ffi::OsStr,
    fmt, io,
    net::{SocketAddr, UdpSocket},
    os::{
        fd::{FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    io::{Errno, FdFlags},
    net::{AddressFamily, SocketAddrUnix, SocketType, sockopt},
};

use super::{Address, BindError, BoundAddress, Listener};
use crate::handover::{self, Handover};

/// Sockets that nobody has asked for yet.
#[derive(Debug, Default)]
pub struct HandedSockets {
    sockets: Mutex<Vec<Handed>>,
    /// What else the program before this one has left in this process, by name.
    others: Mutex<Vec<(String, OwnedFd)>>,
    /// All that it has left, as long as it may be executed again.
    predecessor: Mutex<Option<Handover>>,
    /// So long the files of sockets are still that program's.
    is_left: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Handed {
    socket: OwnedFd,
    label: Label,
    local: BoundAddress,
    /// Whoever serves it removes its file.
    has_file: bool,
}

/// A descriptor, as whoever handed it over knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    number: RawFd,
    name: String,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "descriptor {} ({})",
            self.number,
            self.name.escape_debug()
        )
    }
}

/// What was handed over is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandedError {
    /// The variables do not say what is there.
    #[error(
        "LISTEN_FDS, LISTEN_FDNAMES: {0}; whoever starts the daemon sets them to what it hands over"
    )]
    Variables(io::Error),
    /// It is no socket.
    #[error("{0} is no socket; hand over sockets alone")]
    NoSocket(Label),
    /// It is one connection.
    #[error("{0} is a connection, and what is asked for is what accepts them: write Accept=no")]
    Connection(Label),
    /// It takes two families.
    #[error(
        "{0} takes IPv4 too, so that callers of it would have two spellings: write BindIPv6Only=ipv6-only, and a socket of its own for IPv4"
    )]
    TwoFamilies(Label),
    /// It is of a family or a type that nothing here serves.
    #[error(
        "{0} is neither TCP nor UDP nor a Unix socket for connections with a path; nothing here serves it"
    )]
    Unserved(Label),
    /// The kernel does not tell what it is.
    #[error("{label}: {source}")]
    Kernel {
        /// Which one.
        label: Label,
        /// What the kernel says.
        source: io::Error,
    },
    /// The configuration has no such listener.
    #[error(
        "{label} is bound to {local}, where the configuration has no listener{hint}: name the same address in both"
    )]
    Unasked {
        /// Which one.
        label: Label,
        /// Where it is bound.
        local: BoundAddress,
        /// Of which key, if its name says that.
        hint: String,
    },
}

impl HandedSockets {
    /// Takes over what the environment says is there. To be called first in `main`, once: what is opened before it may be
    /// taken for one of them.
    pub fn take() -> Result<Self, HandedError> {
        let named = sd_notify::listen_fds_with_names().map_err(HandedError::Variables)?;
        let handed = named.map(|(number, name)| {
            // SAFETY: by sd_listen_fds(3) whoever started this process has opened it for this process, which has opened
            // nothing yet; that it is open was seen when it was marked to be closed on exec.
            let socket = unsafe { OwnedFd::from_raw_fd(number) };
            Handed::new(socket, Label { number, name })
        });
        // Each is owned, and closed if another is of no use.
        let handed: Vec<_> = handed.collect();
        let mut sockets = handed.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (mut others, mut left) = (Vec::new(), Handover::default());
        for (number, name) in handover::named().map_err(HandedError::Variables)? {
            // SAFETY: the program before this one has said in the environment of this very process that it has left this
            // descriptor, which nothing has taken since.
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC)
                .map_err(|errno| HandedError::Variables(errno.into()))?;
            left.add(name.clone(), &descriptor)
                .map_err(HandedError::Variables)?;
            if NO_SOCKETS.contains(&name.as_str()) {
                others.push((name, descriptor));
            } else {
                sockets.push(Handed::new(descriptor, Label { number, name })?);
            }
        }
        let predecessor = (!left.is_empty()).then_some(left);
        Ok(Self {
            sockets: Mutex::new(sockets),
            others: Mutex::new(others),
            is_left: Arc::new(AtomicBool::new(predecessor.is_some())),
            predecessor: Mutex::new(predecessor),
        })
    }

    /// Whether another program was executed in this process before, and has left what it served.
    pub fn is_successor(&self) -> bool {
        let predecessor = self.predecessor.lock();
        predecessor
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// What the program before this one has left by this name, and is no socket.
    pub fn other(&self, name: &str) -> Option<OwnedFd> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let index = others.iter().position(|(other, _)| other == name)?;
        Some(others.remove(index).1)
    }

    /// All that the program before this one has left, to be handed back to it; `None` once this one serves.
    pub fn take_predecessor(&self) -> Option<Handover> {
        let mut predecessor = self
            .predecessor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.is_left.store(false, Ordering::Relaxed);
        predecessor.take()
    }

    /// The listener of `key` at `address`: the socket that was handed over for it, or a new one.
    pub fn listen(&self, key: &str, address: &Address) -> Result<Listener, BindError> {
        let fits = |handed: &Handed| match (address, &handed.local) {
            (Address::Tcp(asked), BoundAddress::Tcp(local)) => handed.serves(key, *asked, *local),
            (Address::Unix(asked), BoundAddress::Unix(local)) => {
                handed.is_for(key) && asked.path == *local
            }
            _ => false,
        };
        match self.remove(fits) {
            Some(Handed {
                socket,
                local,
                has_file,
                ..
            }) => Listener::handed(socket, local, self.left_file(has_file)).map_err(|errno| {
                BindError::Io {
                    address: address.clone(),
                    source: errno.into(),
                }
            }),
            None => Listener::bind(address),
        }
    }

    /// Whether a file that is left is still another program's.
    fn left_file(&self, has_file: bool) -> Option<Arc<AtomicBool>> {
        has_file.then(|| Arc::clone(&self.is_left))
    }

    /// The socket for datagrams that was handed over for `key` at `address`, if one was.
    pub fn receive(&self, key: &str, address: SocketAddr) -> Option<UdpSocket> {
        let handed = self.remove(|handed| match handed.local {
            BoundAddress::Udp(local) => handed.serves(key, address, local),
            BoundAddress::Tcp(_) | BoundAddress::Unix(_) => false,
        });
        handed.map(|handed| handed.socket.into())
    }

    /// The Unix socket that was handed over for `key` at `path`, if one was.
    pub fn connections(&self, key: &str, path: &Path) -> Option<UnixListener> {
        let handed = self.remove(|handed| match &handed.local {
            BoundAddress::Unix(local) => handed.is_for(key) && local == path,
            BoundAddress::Tcp(_) | BoundAddress::Udp(_) => false,
        });
        handed.map(|handed| handed.socket.into())
    }

    /// That everything was asked for by one of `keys`. What was not is closed.
    pub fn are_taken(&self, keys: &[&str]) -> Result<(), HandedError> {
        let left = self.remove(|_| true);
        if self.is_successor() {
            // What the configuration does not name any more is closed.
            while self.remove(|_| true).is_some() {}
            return Ok(());
        }
        left.map_or(Ok(()), |Handed { label, local, .. }| {
            let is_key = keys.contains(&label.name.as_str());
            let hint = is_key.then(|| format!(" of `{}`", label.name));
            Err(HandedError::Unasked {
                label,
                local,
                hint: hint.unwrap_or_default(),
            })
        })
    }

    fn remove(&self, fits: impl FnMut(&Handed) -> bool) -> Option<Handed> {
        let mut handed = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let index = handed.iter().position(fits)?;
        Some(handed.remove(index))
    }
}

impl Handed {
    fn new(socket: OwnedFd, mut label: Label) -> Result<Self, HandedError> {
        let key = label.name.strip_suffix(handover::WITH_FILE);
        let key = key.map(str::to_owned);
        let has_file = key.is_some();
        label.name = key.unwrap_or(label.name);
        match look(&socket) {
            Ok(Ok(local)) => Ok(Self {
                socket,
                label,
                local,
                has_file,
            }),
            Ok(Err(unfit)) => Err(unfit(label)),
            Err(Errno::NOTSOCK) => Err(HandedError::NoSocket(label)),
            Err(errno) => Err(HandedError::Kernel {
                label,
                source: errno.into(),
            }),
        }
    }

    /// Whether it may be one of `key`: its name says so, or names no key.
    fn is_for(&self, key: &str) -> bool {
        self.label.name == key || !KEYS.contains(&self.label.name.as_str())
    }

    /// Whether it is what `key` asks for. One at port 0 takes any port of one that is named after it.
    fn serves(&self, key: &str, asked: SocketAddr, local: SocketAddr) -> bool {
        let mut any_port = local;
        any_port.set_port(0);
        self.is_for(key) && asked == local || self.label.name == key && asked == any_port
    }
}

/// What is handed over beside sockets.
const NO_SOCKETS: [&str; 3] = [handover::PROGRAM, handover::CALLED, handover::LOCK];

/// The keys of listeners, after which descriptors are named.
pub const KEYS: [&str; 4] = ["listen", "legacy", "metrics", "control"];

/// What makes an error of a descriptor that is unfit.
type Unfit = fn(Label) -> HandedError;

/// Where `socket` is bound, if it can be served; it does not block from now on.
fn look(socket: &OwnedFd) -> Result<Result<BoundAddress, Unfit>, Errno> {
    let kind = sockopt::socket_type(socket)?;
    let family = sockopt::socket_domain(socket)?;
    rustix::io::ioctl_fionbio(socket, true)?;
    if family == AddressFamily::INET6 && !sockopt::ipv6_v6only(socket)? {
        return Ok(Err(HandedError::TwoFamilies));
    }
    if kind == SocketType::STREAM && !sockopt::socket_acceptconn(socket)? {
        return Ok(Err(HandedError::Connection));
    }
    let local = rustix::net::getsockname(socket)?;
    let is_ip = family == AddressFamily::INET || family == AddressFamily::INET6;
    Ok(match kind {
        SocketType::STREAM if is_ip => Ok(BoundAddress::Tcp(local.try_into()?)),
        SocketType::DGRAM if is_ip => Ok(BoundAddress::Udp(local.try_into()?)),
        SocketType::STREAM if family == AddressFamily::UNIX => {
            let local: SocketAddrUnix = local.try_into()?;
            match local.path() {
                Some(path) => {
                    let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
                    Ok(BoundAddress::Unix(path))
                }
                None => Err(HandedError::Unserved),
            }
        }
        _ => Err(HandedError::Unserved),
    })
}

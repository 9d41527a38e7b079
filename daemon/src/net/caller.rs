//! Who is at the other end, as the kernel tells it. Never taken from what the peer says of itself.

use std::{fmt, fs, net::SocketAddr};

use super::Identity;

/// What a caller came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// A datagram.
    Udp,
    /// A Unix socket.
    Unix,
}

/// In which cgroup of this machine a peer is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum PeerCgroup {
    /// In none: it is on another machine.
    #[default]
    Elsewhere,
    /// The kernel does not say, or not any more.
    Unknown,
    /// The cgroup of this number made its socket.
    Number(u64),
    /// Its process is in the cgroup v2 of this path, as `/proc/PID/cgroup` has it.
    Path(Box<str>),
}

impl PeerCgroup {
    /// That of the process `pid`, which has just connected.
    pub(super) fn of(pid: Option<i32>) -> Self {
        let text = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok());
        let text = text.unwrap_or_default();
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        path.map_or(Self::Unknown, |path| Self::Path(path.into()))
    }
}

/// The one at the other end of a connection, or behind a datagram.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// What it came over.
    pub transport: Transport,
    /// Its address; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// The user that its process belongs to; `None` if that is on another machine.
    pub uid: Option<u32>,
    /// Who it has proven to be; such a caller is known by that alone, and has no `uid`.
    pub identity: Option<Identity>,
    /// Where its process is kept.
    pub cgroup: PeerCgroup,
    /// The listener of the old protocol that it came by, such as `tcp-exec`; `None`: gRPC.
    pub listener: Option<&'static str>,
}

/// The peer is on this machine, and the kernel cannot tell (any more) whose it is. Such a one is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerUnknown {
    /// No process holds the peer's socket.
    #[error(
        "the kernel names no owner of the local socket {0}; it was closed before it could be asked"
    )]
    NoOwner(SocketAddr),
    /// The kernel tells of no socket at all.
    #[error(
        "the kernel does not say whose local sockets are: its module {0} is not there; load it (modprobe {0}), or call over a Unix socket, --listen unix:/PATH"
    )]
    NoModule(&'static str),
    /// The kernel could not be asked.
    #[error(
        "the kernel does not say whose a local connection over TCP is ({0}); over a Unix socket, --listen unix:/PATH, it does"
    )]
    Kernel(#[from] std::io::Error),
}

impl Caller {
    /// A peer over a Unix socket.
    pub fn unix(uid: u32) -> Self {
        Self {
            transport: Transport::Unix,
            address: None,
            uid: Some(uid),
            identity: None,
            cgroup: PeerCgroup::Unknown,
            listener: None,
        }
    }

    /// The same peer, known by `identity` alone, and if there is none by its address: never by its user.
    #[must_use]
    pub fn known_by(self, identity: Option<Identity>) -> Self {
        Self {
            uid: None,
            identity,
            ..self
        }
    }

    /// Whether its process runs on this machine.
    pub fn is_local(&self) -> bool {
        self.uid.is_some()
    }

    /// Whether `text` is its own IP address, as a gateway in this process has it.
    pub fn is_at(&self, text: &[u8]) -> bool {
        self.address
            .is_some_and(|address| address.ip().to_canonical().to_string().as_bytes() == text)
    }
}

impl fmt::Display for Caller {
    /// The text that executions are owned by: its identity, else `unix:1000` for whom the kernel vouches, else
    /// `ip:192.0.2.7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.identity, self.uid, self.address) {
            (Some(identity), _, _) => identity.fmt(f),
            (None, Some(uid), _) => write!(f, "unix:{uid}"),
            (None, None, Some(address)) => write!(f, "ip:{}", address.ip().to_canonical()),
            (None, None, None) => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_read_as_the_api_says() {
        let caller = |address: &str, uid| Caller {
            transport: Transport::Tcp,
            address: Some(address.parse().unwrap()),
            uid,
            identity: None,
            cgroup: PeerCgroup::default(),
            listener: None,
        };
        assert_eq!(Caller::unix(1000).to_string(), "unix:1000");
        assert_eq!(caller("127.0.0.1:9", Some(0)).to_string(), "unix:0");
        assert_eq!(caller("192.0.2.7:9", None).to_string(), "ip:192.0.2.7");
        assert_eq!(
            caller("[::ffff:192.0.2.7]:9", None).to_string(),
            "ip:192.0.2.7"
        );
        assert_eq!(
            caller("[2001:db8::7]:9", None).to_string(),
            "ip:2001:db8::7"
        );
        let local = caller("127.0.0.1:9", Some(0));
        let identity = Some(Identity::token("ci").unwrap());
        assert_eq!(local.clone().known_by(identity).to_string(), "token:ci");
        assert_eq!(local.known_by(None).to_string(), "ip:127.0.0.1");
    }
}

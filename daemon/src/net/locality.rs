//! Local with a user, remote with an address, or unknown: where a peer is, decided by the kernel's answers alone.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use super::{
    caller::{Caller, PeerCgroup, PeerUnknown, Transport},
    peer::{self, Owner},
};

/// What the kernel says of a peer.
#[derive(Debug)]
pub enum Locality {
    /// A process of this machine, of that user.
    Local {
        /// The user.
        uid: u32,
        /// Where its process is kept.
        cgroup: PeerCgroup,
    },
    /// Of this machine, but nobody's: to be refused.
    Unknown(PeerUnknown),
    /// On another machine.
    Remote(IpAddr),
}

/// Whose the TCP connection from `peer` to our `local` address is. The own socket must still be connected afterwards:
/// if not, the port may have found another owner meanwhile, and the answer is void.
pub fn identify_tcp(peer: SocketAddr, local: SocketAddr) -> Locality {
    let owner = peer::tcp_owner(peer, local);
    classify(peer, local, owner, || {
        let tells = peer::tells_of_tcp(peer, local);
        tells.map(|tells| no_owner(peer, tells, "tcp_diag"))
    })
}

/// Whose the datagram from `peer` to our `local` address is, received on the socket of inode `own_inode`.
pub fn identify_udp(peer: SocketAddr, local: SocketAddr, own_inode: u64) -> Locality {
    let owner = peer::udp_owner(peer, local, own_inode);
    classify(peer, local, owner, || {
        let tells = peer::tells_of_udp(peer, local);
        tells.map(|tells| no_owner(peer, tells, "udp_diag"))
    })
}

/// Of a kernel that tells of sockets, or else lacks its `module`.
fn no_owner(peer: SocketAddr, tells: bool, module: &'static str) -> PeerUnknown {
    if tells {
        PeerUnknown::NoOwner(peer)
    } else {
        PeerUnknown::NoModule(module)
    }
}

/// `unknown` says why a peer of this machine has no owner.
fn classify(
    peer: SocketAddr,
    local: SocketAddr,
    owner: io::Result<Option<Owner>>,
    unknown: impl FnOnce() -> io::Result<PeerUnknown>,
) -> Locality {
    if let Ok(Some(owner)) = owner {
        return Locality::Local {
            uid: owner.uid,
            cgroup: owner.cgroup.map_or(PeerCgroup::Unknown, PeerCgroup::Number),
        };
    }
    if !peer::is_this_host(peer, local) {
        return Locality::Remote(peer.ip().to_canonical());
    }
    Locality::Unknown(match owner {
        Err(error) => PeerUnknown::Kernel(error),
        Ok(_) => unknown().unwrap_or_else(PeerUnknown::Kernel),
    })
}

impl Locality {
    /// The caller at `peer`, unless it is unknown.
    pub fn caller(self, transport: Transport, peer: SocketAddr) -> Result<Caller, PeerUnknown> {
        let (uid, cgroup) = match self {
            Self::Local { uid, cgroup } => (Some(uid), cgroup),
            Self::Remote(_) => (None, PeerCgroup::Elsewhere),
            Self::Unknown(why) => return Err(why),
        };
        Ok(Caller {
            transport,
            address: Some(peer),
            uid,
            identity: None,
            cgroup,
            listener: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(peer: &str, owner: io::Result<Option<Owner>>) -> Locality {
        let local = "127.0.0.1:1".parse().unwrap();
        let peer = peer.parse().unwrap();
        classify(peer, local, owner, || Ok(no_owner(peer, true, "")))
    }

    #[test]
    fn an_owner_makes_it_local() {
        let owner = Some(Owner {
            uid: 7,
            inode: 1,
            cgroup: Some(5),
        });
        let locality = classified("127.0.0.1:9", Ok(owner));
        assert!(matches!(
            locality,
            Locality::Local {
                uid: 7,
                cgroup: PeerCgroup::Number(5)
            }
        ));
    }

    #[test]
    fn an_own_address_without_owner_is_unknown() {
        let nobody = classified("127.0.0.1:9", Ok(None));
        assert!(matches!(nobody, Locality::Unknown(PeerUnknown::NoOwner(_))));
        let error = || Err(io::ErrorKind::PermissionDenied.into());
        let silent = classified("127.0.0.1:9", error());
        assert!(matches!(silent, Locality::Unknown(PeerUnknown::Kernel(_))));
        let mapped = classified("[::ffff:127.0.0.1]:9", Ok(None));
        assert!(matches!(mapped, Locality::Unknown(_)));
    }

    #[test]
    fn a_kernel_without_its_module_is_named() {
        let (peer, local) = (
            "127.0.0.1:9".parse().unwrap(),
            "127.0.0.1:1".parse().unwrap(),
        );
        let module = || Ok(no_owner(peer, false, "tcp_diag"));
        let Locality::Unknown(why) = classify(peer, local, Ok(None), module) else {
            panic!("it is of this machine");
        };
        let why = why.to_string();
        assert!(
            why.contains("modprobe tcp_diag") && why.contains("unix:/PATH"),
            "{why}"
        );
    }

    #[test]
    fn another_address_is_remote_even_if_sock_diag_fails() {
        let error = Err(io::ErrorKind::PermissionDenied.into());
        let remote = classified("[::ffff:192.0.2.1]:9", error);
        assert!(matches!(remote, Locality::Remote(ip) if ip.to_string() == "192.0.2.1"));
    }
}

//! Who may use a listener: local processes by their user, other machines by their address. Pure: the kernel was asked before.

use std::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::Network;
use crate::net::{Caller, PeerUnknown, Users};

/// Who may use one listener.
#[derive(Debug, Clone)]
pub struct Access {
    /// Of this machine.
    pub users: Users,
    /// Of other machines; empty: every one that reaches it.
    pub allow: Vec<Network>,
}

/// Why a peer may not.
#[derive(Debug, Error)]
pub enum Denied {
    /// A local process of another user.
    #[error(
        "user {uid} may not use this listener; --users or users= on the listener lets users in"
    )]
    User {
        /// Whose it is.
        uid: u32,
    },
    /// Another machine.
    #[error("{address} is in none of the networks of this listener's allow=")]
    Address {
        /// Which one.
        address: IpAddr,
    },
    /// A local peer that is nobody's any more.
    #[error(transparent)]
    Unknown(PeerUnknown),
}

impl Denied {
    /// Whom it is about, as callers are shown.
    pub fn peer(&self) -> String {
        match self {
            Self::User { uid } => format!("unix:{uid}"),
            Self::Address { address } => format!("ip:{address}"),
            Self::Unknown(_) => "unknown".to_owned(),
        }
    }
}

impl Access {
    /// Lets `caller` in, or says why not. `users` says nothing of other machines, `allow` nothing of this one.
    pub fn admit(&self, caller: Result<Caller, PeerUnknown>) -> Result<Caller, Denied> {
        let caller = caller.map_err(Denied::Unknown)?;
        self.judge(caller.uid, caller.address)?;
        Ok(caller)
    }

    /// The same of a peer that has been let in before, and is known by its user or its address.
    pub fn judge(&self, uid: Option<u32>, address: Option<SocketAddr>) -> Result<(), Denied> {
        match (uid, address) {
            (Some(uid), _) if !self.users.allows(uid) => Err(Denied::User { uid }),
            (Some(_), _) => Ok(()),
            (None, Some(address)) => {
                let open = self.allow.is_empty();
                if open || self.allow.iter().any(|network| network.contains(address)) {
                    Ok(())
                } else {
                    Err(Denied::Address {
                        address: address.ip().to_canonical(),
                    })
                }
            }
            // Over a Unix socket the kernel always names a user.
            (None, None) => Err(Denied::Unknown(PeerUnknown::Kernel(
                std::io::ErrorKind::NotFound.into(),
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::peer;

    fn access(allow: &[&str]) -> Access {
        Access {
            users: Users::parse("4321").unwrap(),
            allow: allow
                .iter()
                .map(|network| network.parse().unwrap())
                .collect(),
        }
    }

    #[test]
    fn local_peers_go_by_their_user_alone() {
        let access = access(&["192.0.2.0/24"]);
        assert!(access.admit(Ok(peer("127.0.0.1:9", Some(0)))).is_ok());
        assert!(access.admit(Ok(Caller::unix(4321))).is_ok());
        let denied = access.admit(Ok(peer("192.0.2.1:9", Some(4322))));
        assert!(matches!(denied, Err(Denied::User { uid: 4322 })));
        let nobody = PeerUnknown::NoOwner("127.0.0.1:9".parse().unwrap());
        assert!(matches!(access.admit(Err(nobody)), Err(Denied::Unknown(_))));
    }

    #[test]
    fn other_machines_go_by_their_address_alone() {
        assert!(access(&[]).admit(Ok(peer("198.51.100.1:9", None))).is_ok());
        let access = access(&["192.0.2.0/24", "2001:db8::/32"]);
        for address in ["192.0.2.9:1", "[::ffff:192.0.2.9]:1", "[2001:db8::1]:1"] {
            assert!(access.admit(Ok(peer(address, None))).is_ok(), "{address}");
        }
        let denied = access.admit(Ok(peer("198.51.100.1:9", None)));
        assert!(matches!(denied, Err(Denied::Address { .. })));
    }
}

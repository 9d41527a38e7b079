//! How many connections each peer has, and the memory that its unfinished requests may take: a user of this machine is one
//! peer, an address elsewhere another.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use remex_daemon::net::Caller;
use tokio::sync::Semaphore;

use super::budget::PEER_BYTES;

/// Connections of one peer at once: a quarter of all.
pub const MAX_CONNECTIONS_OF_A_PEER: usize = 1024;

/// Whom connections are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    User(u32),
    Address(IpAddr),
}

impl Peer {
    pub(super) fn of(caller: &Caller) -> Self {
        match (caller.uid, caller.address) {
            (None, Some(address)) => Self::Address(address.ip().to_canonical()),
            // Over a Unix socket the kernel always names a user.
            (uid, _) => Self::User(uid.unwrap_or(u32::MAX)),
        }
    }
}

/// The counts; they hold only peers that are connected. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    peers: HashMap<Peer, Entry>,
    connections: usize,
}

#[derive(Debug)]
struct Entry {
    connections: usize,
    bytes: Arc<Semaphore>,
}

/// A connection that is counted, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Peers,
    peer: Peer,
    /// How many there were when it came, itself among them.
    pub(super) connections: usize,
    /// What unfinished requests of this peer may still take.
    pub(super) bytes: Arc<Semaphore>,
}

impl Peers {
    /// Counts a connection of `caller`; `None`: it has [`MAX_CONNECTIONS_OF_A_PEER`].
    pub(super) fn enter(&self, caller: &Caller) -> Option<Place> {
        let peer = Peer::of(caller);
        let mut counts = self.lock();
        let entry = counts.peers.entry(peer).or_insert_with(|| Entry {
            connections: 0,
            bytes: Arc::new(Semaphore::new(PEER_BYTES)),
        });
        if entry.connections >= MAX_CONNECTIONS_OF_A_PEER {
            return None;
        }
        entry.connections += 1;
        let bytes = Arc::clone(&entry.bytes);
        counts.connections += 1;
        Some(Place {
            peers: self.clone(),
            peer,
            connections: counts.connections,
            bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.lock();
        counts.connections -= 1;
        if let Some(entry) = counts.peers.get_mut(&self.peer) {
            entry.connections -= 1;
            if entry.connections == 0 {
                counts.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use remex_daemon::net::Transport;

    use super::*;

    fn elsewhere(address: &str) -> Caller {
        Caller {
            transport: Transport::Tcp,
            address: Some(address.parse().unwrap()),
            uid: None,
            identity: None,
            cgroup: remex_daemon::net::PeerCgroup::default(),
            listener: None,
        }
    }

    #[test]
    fn a_peer_has_as_many_as_the_limit_and_leaves_the_others_theirs() {
        let peers = Peers::default();
        let local = |port: u16| Caller {
            uid: Some(1000),
            ..elsewhere(&format!("127.0.0.1:{port}"))
        };
        let mut places: Vec<_> = (1..).map_while(|port| peers.enter(&local(port))).collect();
        assert_eq!(places.len(), MAX_CONNECTIONS_OF_A_PEER);
        assert!(peers.enter(&Caller::unix(1000)).is_none());
        let other = peers.enter(&Caller::unix(1001)).unwrap();
        let one = peers.enter(&elsewhere("192.0.2.7:1")).unwrap();
        let two = peers.enter(&elsewhere("[::ffff:192.0.2.7]:2")).unwrap();
        assert!(Arc::ptr_eq(&one.bytes, &two.bytes));
        assert!(!Arc::ptr_eq(&one.bytes, &other.bytes));
        places.pop();
        assert!(peers.enter(&Caller::unix(1000)).is_some());
        drop((places, other, one, two));
        let counts = peers.lock();
        assert!(counts.peers.is_empty());
        assert_eq!(counts.connections, 0);
    }
}

//! Who may, and how much: users and networks ([`Access`]), connections of one address, datagrams a second, sources that no
//! client has; and what was refused, counted.

mod access;
mod addresses;
mod network;
mod rates;
mod refusals;
mod sources;

pub use self::{
    access::{Access, Denied},
    addresses::{Addresses, Entry},
    network::{Network, NotANetwork},
    rates::Rates,
    refusals::{RefusalObserver, Refusals, Refused},
    sources::{Forbidden, check_source},
};

/// A peer over TCP, local if it has a user, for tests.
#[cfg(test)]
fn peer(address: &str, uid: Option<u32>) -> crate::net::Caller {
    crate::net::Caller {
        transport: crate::net::Transport::Tcp,
        address: Some(address.parse().unwrap()),
        uid,
        identity: None,
        cgroup: crate::net::PeerCgroup::default(),
        listener: None,
    }
}

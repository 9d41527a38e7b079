//! How many connections each other machine has. Local ones are not counted: their users are known and let in one by one.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::net::Caller;

/// The counts; they hold only addresses that are connected.
#[derive(Debug)]
pub struct Addresses {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted, until it is dropped.
#[derive(Debug)]
pub struct Entry<'a> {
    addresses: &'a Addresses,
    address: Option<IpAddr>,
}

impl Addresses {
    /// At most `most` each.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            counts: Mutex::default(),
        }
    }

    /// Counts a connection of `caller`; `None`: it has as many as it may.
    pub fn enter(&self, caller: &Caller) -> Option<Entry<'_>> {
        let address = match caller.address {
            Some(address) if !caller.is_local() => Some(address.ip().to_canonical()),
            _ => None,
        };
        if let Some(address) = address {
            let mut counts = self.counts();
            let count = counts.entry(address).or_default();
            if *count >= self.most {
                return None;
            }
            *count += 1;
        }
        Some(Entry {
            addresses: self,
            address,
        })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut counts = self.addresses.counts();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::peer;

    #[test]
    fn an_address_may_have_as_many_as_the_limit_and_no_more() {
        let addresses = Addresses::new(2);
        let one = addresses.enter(&peer("192.0.2.7:1", None)).unwrap();
        let two = addresses
            .enter(&peer("[::ffff:192.0.2.7]:2", None))
            .unwrap();
        assert!(addresses.enter(&peer("192.0.2.7:3", None)).is_none());
        assert!(addresses.enter(&peer("192.0.2.8:3", None)).is_some());
        drop(one);
        assert!(addresses.enter(&peer("192.0.2.7:3", None)).is_some());
        drop(two);
        assert!(addresses.counts().is_empty());
    }

    #[test]
    fn local_connections_are_not_counted() {
        let addresses = Addresses::new(1);
        let local = peer("127.0.0.1:1", Some(0));
        let entries: Vec<_> = (0..9).map(|_| addresses.enter(&local)).collect();
        assert!(entries.iter().all(Option::is_some));
    }
}

//! Networks of other machines, as a listener's `allow=` names them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net};

use crate::net::zone_index;

/// Bits of an IPv6 address before the IPv4 address that is written in it (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// A network, or one address. Parses `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`, and with a zone `fe80::%eth0/64` (RFC 4007).
/// IPv4 that is written in IPv6, as in `::ffff:192.0.2.0/120`, is IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    net: IpNet,
    /// The number of the interface on which alone it is.
    zone: Option<u32>,
}

/// The text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no network, or of a zone that is no network interface")]
pub struct NotANetwork;

impl Network {
    /// Whether `peer` is in it.
    pub fn contains(&self, peer: SocketAddr) -> bool {
        let zone = match peer {
            SocketAddr::V6(peer) => peer.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        self.net.contains(&peer.ip().to_canonical()) && self.zone.is_none_or(|own| own == zone)
    }

    /// Whether its addresses are of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.net.addr().is_ipv4()
    }

    /// Whether all of its addresses are loopback's.
    pub fn is_loopback(&self) -> bool {
        self.net.network().is_loopback() && self.net.broadcast().is_loopback()
    }

    /// Whether no machine has any of its addresses for its own: multicast, broadcast, and the unspecified one alone.
    pub fn is_nobodys(&self) -> bool {
        let (first, last) = (self.net.network(), self.net.broadcast());
        let broadcast = matches!(first, IpAddr::V4(first) if first.is_broadcast());
        broadcast
            || (first.is_multicast() && last.is_multicast())
            || (first.is_unspecified() && last.is_unspecified())
    }
}

impl From<IpNet> for Network {
    fn from(net: IpNet) -> Self {
        Self { net, zone: None }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let (address, zone) = match address.split_once('%') {
            Some((address, zone)) => (address, Some(zone_index(zone).ok_or(NotANetwork)?)),
            None => (address, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        if zone.is_some() && address.is_ipv4() {
            return Err(NotANetwork);
        }
        let length = match length {
            // `parse` of a number takes a sign, a length has none.
            Some(length) if length.starts_with('+') => return Err(NotANetwork),
            Some(length) => Some(length.parse().map_err(|_| NotANetwork)?),
            None => None,
        };
        let net = network(address, length).ok_or(NotANetwork)?;
        Ok(Self { net, zone })
    }
}

fn network(address: IpAddr, length: Option<u8>) -> Option<IpNet> {
    let Some(length) = length else {
        return Some(address.to_canonical().into());
    };
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
        && let Some(length) = length.checked_sub(MAPPED_BITS)
    {
        return Ipv4Net::new(v4, length).ok().map(IpNet::V4);
    }
    IpNet::new(address, length).ok()
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.zone {
            None => self.net.fmt(f),
            Some(zone) => write!(f, "{}%{zone}/{}", self.net.addr(), self.net.prefix_len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_of_an_address_names_its_network() {
        for (text, shown, inside, outside) in [
            ("192.0.2.7", "192.0.2.7/32", "192.0.2.7:1", "192.0.2.8:1"),
            ("192.0.2.7/24", "192.0.2.7/24", "192.0.2.9:1", "192.0.3.1:1"),
            (
                "::ffff:192.0.2.7",
                "192.0.2.7/32",
                "[::ffff:192.0.2.7]:1",
                "192.0.2.8:1",
            ),
            (
                "::FFFF:192.0.2.0/120",
                "192.0.2.0/24",
                "192.0.2.9:1",
                "192.0.3.1:1",
            ),
            (
                "::ffff:c000:200/120",
                "192.0.2.0/24",
                "192.0.2.9:1",
                "192.0.3.1:1",
            ),
            (
                "2001:DB8:0:0::/32",
                "2001:db8::/32",
                "[2001:db8::9]:1",
                "[2001:db9::9]:1",
            ),
            ("0.0.0.0/0", "0.0.0.0/0", "192.0.2.9:1", "[2001:db8::9]:1"),
            // The loopback interface is the first of every machine.
            (
                "fe80::%lo/64",
                "fe80::%1/64",
                "[fe80::9%1]:1",
                "[fe80::9%2]:1",
            ),
            ("fe80::9%1", "fe80::9%1/128", "[fe80::9%1]:1", "[fe80::9]:1"),
        ] {
            let network = network(text);
            assert_eq!(network.to_string(), shown);
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(
                !network.contains(outside.parse().unwrap()),
                "{text} {outside}"
            );
        }
        // Without a zone it is on every interface.
        assert!(network("fe80::/10").contains("[fe80::9%7]:1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_none() {
        for text in [
            "",
            "lan",
            "192.0.2.0/33",
            "192.0.2.0/",
            "192.0.2.0/+8",
            "192.0.2.0/8/8",
            "192.0.2.0%lo/24",
            "2001:db8::/129",
            "fe80::%none/64",
            "fe80::%/64",
            "[fe80::1]",
            "fe80::/64%lo",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }

    #[test]
    fn some_networks_are_of_no_other_machine() {
        for (text, loopback, nobodys) in [
            ("127.0.0.0/8", true, false),
            ("::1", true, false),
            ("::ffff:127.0.0.1", true, false),
            ("126.0.0.0/7", false, false),
            ("224.0.0.0/4", false, true),
            ("ff02::1", false, true),
            ("0.0.0.0", false, true),
            ("255.255.255.255", false, true),
            ("0.0.0.0/0", false, false),
            ("::/0", false, false),
        ] {
            let network = network(text);
            assert_eq!(network.is_loopback(), loopback, "{text}");
            assert_eq!(network.is_nobodys(), nobodys, "{text}");
        }
    }
}

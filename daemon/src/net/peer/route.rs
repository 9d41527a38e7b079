//! Whether an address is one of this host's own. Whatever is in doubt counts as own, since own peers need an owner.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use super::netlink::Netlink;

static SOCKET: Netlink = Netlink::new(None);

const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
/// Where `struct rtmsg` has the route's type.
const ROUTE_TYPE: usize = 7;
/// `RTN_LOCAL`: packets to it are delivered here.
const LOCAL: u8 = 2;

/// Opens the netlink socket ahead of the first question.
pub(super) fn prepare() -> io::Result<()> {
    SOCKET.prepare()
}

/// Whether the connection from `peer` to our own `local` address began on this host.
pub(in crate::net) fn is_this_host(peer: SocketAddr, local: SocketAddr) -> bool {
    let ip = peer.ip().to_canonical();
    ip.is_loopback()
        || ip == local.ip().to_canonical()
        // With ip_nonlocal_bind set, every address can be bound; the routing table then tells.
        || (may_be_bound(peer, ip) && is_routed_here(peer, ip))
}

fn may_be_bound(peer: SocketAddr, ip: IpAddr) -> bool {
    let mut probe = SocketAddr::new(ip, 0);
    if let (SocketAddr::V6(probe), SocketAddr::V6(peer)) = (&mut probe, peer) {
        probe.set_scope_id(peer.scope_id());
    }
    match UdpSocket::bind(probe) {
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
        Ok(_) => true,
    }
}

fn is_routed_here(peer: SocketAddr, ip: IpAddr) -> bool {
    let interface = match peer {
        SocketAddr::V6(peer) => peer.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    match SOCKET.ask(RTM_GETROUTE, &question(ip, interface)) {
        Ok(answer) => answer
            .bytes(ROUTE_TYPE)
            .map_or(true, |[kind]| kind == LOCAL),
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable
        ),
    }
}

/// `struct rtmsg` and its attributes.
fn question(ip: IpAddr, interface: u32) -> Vec<u8> {
    let (family, octets) = match ip {
        IpAddr::V4(ip) => (libc::AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (libc::AF_INET6, ip.octets().to_vec()),
    };
    // Both fit: a family is at most 10, a prefix at most 128 bits.
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    let bits = if octets.len() == 4 { 32 } else { 128 };
    let mut question = vec![0; 12];
    question[..2].copy_from_slice(&[byte(family), bits]);
    attribute(&mut question, RTA_DST, &octets);
    if interface != 0 {
        attribute(&mut question, RTA_OIF, &interface.to_ne_bytes());
    }
    question
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_host(peer: &str) -> bool {
        is_this_host(peer.parse().unwrap(), "127.0.0.1:1".parse().unwrap())
    }

    #[test]
    fn own_addresses_are_own() {
        for own in [
            "127.0.0.1:9",
            "127.4.5.6:9",
            "[::1]:9",
            "[::ffff:127.0.0.1]:9",
        ] {
            assert!(this_host(own), "{own}");
        }
        let far = "192.0.2.1:9".parse().unwrap();
        assert!(is_this_host(far, "192.0.2.1:1".parse().unwrap()));
    }

    #[test]
    fn addresses_of_others_are_not() {
        // TEST-NET and the documentation prefix: nobody's.
        for far in ["192.0.2.1:9", "[2001:db8::1]:9", "[::ffff:192.0.2.1]:9"] {
            assert!(!this_host(far), "{far}");
        }
    }

    #[test]
    fn the_routing_table_tells_without_a_bind() {
        let routed = |ip: &str| {
            let ip = ip.parse().unwrap();
            is_routed_here(SocketAddr::new(ip, 9), ip)
        };
        assert!(routed("127.0.0.1") && routed("::1"));
        assert!(!routed("192.0.2.1") && !routed("2001:db8::1"));
    }
}

//! Which datagrams are dropped unread: those that no client sends, and those that would make two servers answer each other
//! for ever. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Ports below this belong to servers.
const FIRST_CLIENT_PORT: u16 = 1024;

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Port 0 to 1023.
    #[error("its source port is below {FIRST_CLIENT_PORT}")]
    LowPort,
    /// An address that is nobody's, or everybody's.
    #[error("its source is a broadcast, multicast or unspecified address")]
    Address,
    /// One of our own.
    #[error("its source is a listener of this gateway")]
    Own,
}

/// Judges a datagram's source; `own` are the addresses of our UDP listeners.
pub fn check_source(from: SocketAddr, own: &[SocketAddr]) -> Result<(), Forbidden> {
    let address = from.ip().to_canonical();
    if from.port() < FIRST_CLIENT_PORT {
        return Err(Forbidden::LowPort);
    }
    let forbidden = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets()[0] == 0 || is_loopback_broadcast(v4),
        IpAddr::V6(_) => false,
    };
    if forbidden || address.is_multicast() || address.is_unspecified() {
        return Err(Forbidden::Address);
    }
    if own.iter().any(|own| is_own(from.port(), address, *own)) {
        return Err(Forbidden::Own);
    }
    Ok(())
}

fn is_loopback_broadcast(address: Ipv4Addr) -> bool {
    address.is_loopback() && address.octets()[3] == 255
}

/// A listener on every address has also those that we do not know of, so there the port decides alone: a twin of this
/// gateway on another machine is no client either.
fn is_own(port: u16, address: IpAddr, own: SocketAddr) -> bool {
    let own_address = own.ip().to_canonical();
    port == own.port() && (own_address.is_unspecified() || own_address == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_are_answered() {
        let own = ["127.0.0.1:8081", "0.0.0.0:9000", "[::1]:8081"].map(|own| own.parse().unwrap());
        for (from, expected) in [
            ("127.0.0.1:40000", Ok(())),
            ("192.0.2.7:1024", Ok(())),
            ("[2001:db8::7]:40000", Ok(())),
            ("127.0.0.2:8081", Ok(())),
            ("192.0.2.7:1023", Err(Forbidden::LowPort)),
            ("192.0.2.7:0", Err(Forbidden::LowPort)),
            ("255.255.255.255:40000", Err(Forbidden::Address)),
            ("127.255.255.255:40000", Err(Forbidden::Address)),
            ("224.0.0.1:40000", Err(Forbidden::Address)),
            ("0.0.0.0:40000", Err(Forbidden::Address)),
            ("0.1.2.3:40000", Err(Forbidden::Address)),
            ("[::]:40000", Err(Forbidden::Address)),
            ("[ff02::1]:40000", Err(Forbidden::Address)),
            ("[::ffff:224.0.0.1]:40000", Err(Forbidden::Address)),
            ("127.0.0.1:8081", Err(Forbidden::Own)),
            ("[::1]:8081", Err(Forbidden::Own)),
            ("[::ffff:127.0.0.1]:8081", Err(Forbidden::Own)),
            ("127.0.0.1:9000", Err(Forbidden::Own)),
            ("192.0.2.7:9000", Err(Forbidden::Own)),
        ] {
            assert_eq!(
                check_source(from.parse().unwrap(), &own),
                expected,
                "{from}"
            );
        }
    }
}

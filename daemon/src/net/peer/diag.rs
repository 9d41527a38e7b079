//! sock_diag's exact lookup: one socket by its two ends. Encoding and decoding are pure.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustix::net::netlink::SOCK_DIAG;

use super::netlink::{Answer, Netlink};

static SOCKET: Netlink = Netlink::new(Some(SOCK_DIAG));

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// INET_DIAG_CGROUP_ID, since Linux 5.9.
const CGROUP_ID: u16 = 21;
/// `struct inet_diag_msg`, behind which attributes are.
const MESSAGE: usize = 72;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;

/// The protocols that sockets are looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Tcp = 6,
    Udp = 17,
}

/// A socket as sock_diag describes it (`struct inet_diag_msg`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) state: u8,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub(super) uid: u32,
    pub(super) inode: u32,
    /// The number of the cgroup in which it was made; `None`: the kernel does not say.
    pub(super) cgroup: Option<u64>,
}

/// Opens the netlink socket ahead of the first lookup.
pub(super) fn prepare() -> io::Result<()> {
    SOCKET.prepare()
}

/// The socket that the kernel finds between `source` and `destination`, whichever it is: check what comes back.
pub(super) fn find(
    kind: Kind,
    source: SocketAddr,
    destination: SocketAddr,
) -> io::Result<Option<Socket>> {
    match SOCKET.ask(SOCK_DIAG_BY_FAMILY, &request(kind, source, destination)?) {
        Ok(answer) => socket(&answer).map(Some),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Mapped addresses are asked for as IPv4, which finds IPv4 and dual-stack sockets alike.
fn request(kind: Kind, source: SocketAddr, destination: SocketAddr) -> io::Result<Vec<u8>> {
    let (family, from, to) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (libc::AF_INET, widen(from.octets()), widen(to.octets()))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => (libc::AF_INET6, from.octets(), to.octets()),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let family = u8::try_from(family).map_err(io::Error::other)?;
    let mut request = Vec::with_capacity(REQUEST);
    request.extend_from_slice(&[family, kind as u8, 0, 0]);
    // In any state: the answer's is looked at.
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    request.extend_from_slice(&source.port().to_be_bytes());
    request.extend_from_slice(&destination.port().to_be_bytes());
    request.extend_from_slice(&from);
    request.extend_from_slice(&to);
    request.extend_from_slice(&interface(source, destination).to_ne_bytes());
    // INET_DIAG_NOCOOKIE, twice.
    request.extend_from_slice(&[0xff; 8]);
    Ok(request)
}

fn widen(address: [u8; 4]) -> [u8; 16] {
    let mut wide = [0; 16];
    wide[..4].copy_from_slice(&address);
    wide
}

/// Link-local sockets are bound to an interface, and found by it alone.
fn interface(source: SocketAddr, destination: SocketAddr) -> u32 {
    let scope = |address| match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    scope(source).max(scope(destination))
}

fn socket(answer: &Answer) -> io::Result<Socket> {
    Ok(Socket {
        state: answer.bytes::<1>(1)?[0],
        local_port: u16::from_be_bytes(answer.bytes(4)?),
        remote_port: u16::from_be_bytes(answer.bytes(6)?),
        uid: u32::from_ne_bytes(answer.bytes(64)?),
        inode: u32::from_ne_bytes(answer.bytes(68)?),
        cgroup: answer.attribute(MESSAGE, CGROUP_ID).map(u64::from_ne_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn requests_have_the_kernels_layout() {
        let request = request(
            Kind::Tcp,
            address("127.0.0.1:258"),
            address("[::ffff:127.0.0.2]:772"),
        )
        .unwrap();
        assert_eq!(request.len(), REQUEST);
        assert_eq!(request[..2], [2, 6]);
        assert_eq!(request[8..12], [1, 2, 3, 4]);
        assert_eq!(request[12..17], [127, 0, 0, 1, 0]);
        assert_eq!(request[28..33], [127, 0, 0, 2, 0]);
    }

    #[test]
    fn a_socket_has_one_family() {
        let mixed = request(Kind::Udp, address("[::1]:1"), address("127.0.0.1:2"));
        assert_eq!(mixed.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn link_local_sockets_are_asked_for_with_their_interface() {
        let request = request(Kind::Udp, address("[fe80::1%7]:1"), address("[fe80::2]:2")).unwrap();
        assert_eq!(request[44..48], 7_u32.to_ne_bytes());
    }
}

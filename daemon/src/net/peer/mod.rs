//! Whose a socket of this machine is, as sock_diag tells it.
//!
//! An answer counts only if it has an inode (a socket that its process has closed reads uid 0, inode 0: never root),
//! the ports of the peer, and, for UDP, not the inode of the very socket that asks.

mod diag;
mod netlink;
mod route;

use std::{io, net::SocketAddr};

use diag::{Kind, Socket};
pub(super) use route::is_this_host;

/// The process's side of a socket that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user that made it.
    pub uid: u32,
    /// Never 0.
    pub inode: u32,
    /// The number of the cgroup in which it made it; `None`: the kernel does not say.
    pub cgroup: Option<u64>,
}

/// A peer's TCP socket, whether or not a process still holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerSocket {
    /// Means nothing if `inode` is 0.
    pub uid: u32,
    /// 0: no process holds it any more.
    pub inode: u32,
    /// As for [`Owner::cgroup`].
    pub cgroup: Option<u64>,
    /// Where it is in its life.
    pub state: TcpState,
}

/// The states of a TCP socket, as far as they make a difference here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpState {
    /// Both directions are open.
    Established,
    /// A connection is being made: another one than ours, which is there.
    Connecting,
    /// It has shut its writing side down (FIN_WAIT1, FIN_WAIT2, CLOSING).
    HalfClosed,
    /// Our side has shut down, it not yet (CLOSE_WAIT), or it now has too (LAST_ACK).
    Closing,
    /// TIME_WAIT, CLOSE, LISTEN and whatever else is no end of a connection.
    Other,
}

impl TcpState {
    fn new(state: u8) -> Self {
        match state {
            1 => Self::Established,
            2 | 3 | 12 => Self::Connecting,
            4 | 5 | 11 => Self::HalfClosed,
            8 | 9 => Self::Closing,
            _ => Self::Other,
        }
    }

    /// Whether a socket in this state can be the other end of a connection that we have accepted.
    fn is_connected(self) -> bool {
        matches!(self, Self::Established | Self::HalfClosed | Self::Closing)
    }
}

/// The owner of the local TCP socket at `peer` that is connected to our `local`. `None`: there is no such socket, or no
/// process holds it. On `Some`, make sure that the own socket is connected still: a port may have found a new owner.
pub fn tcp_owner(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<Owner>> {
    Ok(tcp_state(peer, local)?.and_then(|socket| {
        (socket.inode != 0 && socket.state.is_connected()).then_some(Owner {
            uid: socket.uid,
            inode: socket.inode,
            cgroup: socket.cgroup,
        })
    }))
}

/// The local TCP socket at `peer` that is connected to our `local`; `None`: it is gone without a trace.
pub fn tcp_state(peer: SocketAddr, local: SocketAddr) -> io::Result<Option<PeerSocket>> {
    let found = diag::find(Kind::Tcp, peer, local)?;
    Ok(found
        // A listener at the peer's port is found where the connection is not; it has no remote port.
        .filter(|socket| (socket.local_port, socket.remote_port) == (peer.port(), local.port()))
        .map(|socket| PeerSocket {
            uid: socket.uid,
            inode: socket.inode,
            cgroup: socket.cgroup,
            state: TcpState::new(socket.state),
        }))
}

/// Whether no process holds the local TCP socket at `peer` any more, which a half-close does not tell. For local
/// peers alone: one of another machine always reads gone.
pub fn tcp_peer_gone(peer: SocketAddr, local: SocketAddr) -> io::Result<bool> {
    Ok(tcp_state(peer, local)?.is_none_or(|socket| socket.inode == 0))
}

/// Whether the kernel tells of TCP sockets, as it does of ours at `local`, be it the one connected to `peer` or its listener.
/// Without its module it says of each that it is not there.
pub fn tells_of_tcp(peer: SocketAddr, local: SocketAddr) -> io::Result<bool> {
    Ok(diag::find(Kind::Tcp, local, peer)?.is_some())
}

/// The same for UDP.
pub fn tells_of_udp(peer: SocketAddr, local: SocketAddr) -> io::Result<bool> {
    let mut ours = local;
    if ours.ip().to_canonical().is_unspecified() {
        ours.set_ip(peer.ip());
    }
    // The ends stand the other way round there, see `udp_owner`.
    Ok(diag::find(Kind::Udp, peer, ours)?.is_some())
}

/// The owner of the local UDP socket at `peer`, from which a datagram came to `local`, our socket of inode `own_inode`.
/// If ours is bound to the unspecified address, the peer's is taken for it. `None`: no process holds it.
pub fn udp_owner(peer: SocketAddr, local: SocketAddr, own_inode: u64) -> io::Result<Option<Owner>> {
    let mut ours = local;
    if ours.ip().to_canonical().is_unspecified() {
        ours.set_ip(peer.ip());
    }
    // As if a reply were delivered: from us to the peer.
    let found = diag::find(Kind::Udp, ours, peer)?;
    Ok(found.and_then(|socket| udp_sender(socket, peer, local, own_inode)))
}

fn udp_sender(
    socket: Socket,
    peer: SocketAddr,
    local: SocketAddr,
    own_inode: u64,
) -> Option<Owner> {
    let held = socket.inode != 0 && u64::from(socket.inode) != own_inode;
    // A socket that is not connected has no remote port.
    let ours = socket.remote_port == 0 || socket.remote_port == local.port();
    (held && ours && socket.local_port == peer.port()).then_some(Owner {
        uid: socket.uid,
        inode: socket.inode,
        cgroup: socket.cgroup,
    })
}

/// Opens what lookups need, so that they work when descriptors have run out.
pub(super) fn prepare() -> io::Result<()> {
    diag::prepare()?;
    route::prepare()
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::fd::AsFd,
    };

    use super::*;

    fn inode(fd: impl AsFd) -> u64 {
        rustix::fs::fstat(fd).unwrap().st_ino
    }

    fn own(inode: u64) -> Owner {
        Owner {
            uid: rustix::process::getuid().as_raw(),
            inode: u32::try_from(inode).unwrap(),
            cgroup: own_cgroup(),
        }
    }

    /// Of a machine with cgroup v2 where it usually is.
    fn own_cgroup() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let folder = format!("/sys/fs/cgroup{own}");
        let stat = rustix::fs::stat(folder).ok()?;
        Some(stat.st_ino)
    }

    #[test]
    fn the_owner_of_a_tcp_socket() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(ip).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            assert_eq!(tcp_owner(peer, local).unwrap(), Some(own(inode(&client))));
        }
    }

    #[test]
    fn a_half_close_is_told_from_a_process_that_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let local = server.local_addr().unwrap();

        client.shutdown(std::net::Shutdown::Write).unwrap();
        let socket = tcp_state(peer, local).unwrap().unwrap();
        assert_eq!(socket.state, TcpState::HalfClosed);
        assert!(!tcp_peer_gone(peer, local).unwrap());
        assert!(tcp_owner(peer, local).unwrap().is_some());

        drop(client);
        assert!(tcp_peer_gone(peer, local).unwrap());
        assert_eq!(tcp_owner(peer, local).unwrap(), None);
    }

    #[test]
    fn that_there_is_no_peer_is_told_from_a_kernel_that_says_nothing() {
        for ip in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(ip).unwrap();
            let port = listener.local_addr().unwrap().port();
            let host = if ip.starts_with('[') {
                "::1"
            } else {
                "127.0.0.1"
            };
            let at = SocketAddr::new(host.parse().unwrap(), port);
            let client = TcpStream::connect(at).unwrap();
            // With a RST, after which nothing is left of our own socket either.
            socket_without_linger(&client);
            drop(client);
            let (server, peer) = listener.accept().unwrap();
            let local = server.local_addr().unwrap();
            assert_eq!(tcp_owner(peer, local).unwrap(), None, "{ip}");
            assert!(tells_of_tcp(peer, local).unwrap(), "{ip}");

            let server = UdpSocket::bind(ip).unwrap();
            let local = server.local_addr().unwrap();
            let client = UdpSocket::bind(SocketAddr::new(at.ip(), 0)).unwrap();
            client
                .send_to(b"x", SocketAddr::new(at.ip(), local.port()))
                .unwrap();
            drop(client);
            let (_, from) = server.recv_from(&mut [0; 1]).unwrap();
            assert!(tells_of_udp(from, local).unwrap(), "{ip}");
        }
    }

    fn socket_without_linger(stream: &TcpStream) {
        rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO)).unwrap();
    }

    #[test]
    fn a_listener_at_the_peers_port_is_no_owner() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = other.local_addr().unwrap();
        let local = "127.0.0.1:9".parse().unwrap();
        assert_eq!(tcp_state(peer, local).unwrap(), None);
    }

    #[test]
    fn the_owner_of_a_udp_socket_connected_or_not() {
        for (ours, peer) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("0.0.0.0:0", "127.0.0.1:0"),
            ("127.0.0.1:0", "0.0.0.0:0"),
            ("[::1]:0", "[::1]:0"),
        ] {
            let server = UdpSocket::bind(ours).unwrap();
            let client = UdpSocket::bind(peer).unwrap();
            let local = server.local_addr().unwrap();
            let reach = if ours.starts_with('[') {
                "::1"
            } else {
                "127.0.0.1"
            };
            let reach = SocketAddr::new(reach.parse().unwrap(), local.port());
            client.send_to(b"x", reach).unwrap();
            let (_, from) = server.recv_from(&mut [0; 1]).unwrap();
            let expected = Some(own(inode(&client)));
            assert_eq!(udp_owner(from, local, inode(&server)).unwrap(), expected);
            client.connect(reach).unwrap();
            assert_eq!(udp_owner(from, local, inode(&server)).unwrap(), expected);
        }
    }

    #[test]
    fn a_udp_socket_that_is_gone_has_no_owner() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = server.local_addr().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", local).unwrap();
        drop(client);
        let (_, from) = server.recv_from(&mut [0; 1]).unwrap();
        assert_eq!(udp_owner(from, local, inode(&server)).unwrap(), None);
        // Our own socket is nobody's peer, whatever a forged datagram says.
        assert_eq!(udp_owner(local, local, inode(&server)).unwrap(), None);
    }

    #[test]
    fn a_udp_socket_connected_elsewhere_is_not_the_sender() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let socket = Socket {
            state: 1,
            local_port: 5,
            remote_port: 6,
            uid: 0,
            inode: 7,
            cgroup: None,
        };
        let (peer, local) = (address("127.0.0.1:5"), address("127.0.0.1:6"));
        assert!(udp_sender(socket, peer, local, 8).is_some());
        assert!(udp_sender(socket, peer, local, 7).is_none(), "our own");
        assert!(udp_sender(socket, address("127.0.0.1:4"), local, 8).is_none());
        assert!(udp_sender(socket, peer, address("127.0.0.1:9"), 8).is_none());
        let closed = Socket { inode: 0, ..socket };
        assert!(udp_sender(closed, peer, local, 8).is_none(), "closed");
    }
}

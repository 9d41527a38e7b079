//! Whose a connection or a datagram is.

use std::{
    io::Write,
    net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixStream,
    time::Duration,
};

use remex_daemon::net::{
    Accepted, Acceptor, Locality, PeerUnknown, Transport, Users, identify_udp,
};
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::support::{
    OTHER_USER, acceptor, as_other_user, bind, is_root, own_uid, soon, tcp_address,
};

fn address(acceptor: &Acceptor) -> SocketAddr {
    tcp_address(acceptor.local())
}

fn assert_uid(connection: &Accepted, uid: u32) {
    let caller = connection.identify().unwrap();
    assert_eq!(caller.uid, Some(uid));
    assert_eq!(caller.to_string(), format!("unix:{uid}"));
    assert_eq!(Users::daemon().allows(uid), uid == own_uid());
}

fn assert_nobody(connection: &Accepted) {
    let caller = connection.identify();
    assert!(
        matches!(caller, Err(PeerUnknown::NoOwner(_))),
        "{caller:?} is believed"
    );
}

/// Closing it resets the connection.
fn reset_on_close(stream: &TcpStream) {
    sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// A client whose socket is IPv6 and whose peer is IPv4: what Java makes.
fn connect_mapped(to: SocketAddr) -> TcpStream {
    let SocketAddr::V4(to) = to else {
        panic!("{to} is not IPv4")
    };
    let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None).unwrap();
    let mapped = SocketAddr::from((to.ip().to_ipv6_mapped(), to.port()));
    rustix::net::connect(&socket, &mapped).unwrap();
    socket.into()
}

#[tokio::test]
async fn own_user_over_tcp() {
    for ip in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let mut acceptor = acceptor(ip);
        let mut to = address(&acceptor);
        if to.ip().is_unspecified() {
            to.set_ip("127.0.0.1".parse().unwrap());
        }
        let client = TcpStream::connect(to).unwrap();
        let connection = soon(acceptor.accept()).await;
        assert_uid(&connection, own_uid());
        let caller = connection.identify().unwrap();
        assert_eq!(caller.transport, Transport::Tcp);
        assert_eq!(caller.address, Some(client.local_addr().unwrap()));
    }
}

#[tokio::test]
async fn own_user_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let mut acceptor = acceptor(&format!("unix:{}", path.display()));
    let _client = UnixStream::connect(&path).unwrap();
    let connection = soon(acceptor.accept()).await;
    assert_uid(&connection, own_uid());
    assert_eq!(connection.identify().unwrap().transport, Transport::Unix);
}

#[tokio::test]
async fn another_user_over_tcp() {
    if !is_root("another_user_over_tcp") {
        return;
    }
    for connect in [|to| TcpStream::connect(to).unwrap(), connect_mapped] {
        let mut acceptor = acceptor("127.0.0.1:0");
        let to = address(&acceptor);
        let _client = as_other_user(|| connect(to));
        assert_uid(&soon(acceptor.accept()).await, OTHER_USER);
    }
}

#[tokio::test]
async fn another_user_over_a_unix_socket() {
    if !is_root("another_user_over_a_unix_socket") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let path = folder.path().join("s.sock");
    let mut acceptor = acceptor(&format!("unix:{}?mode=0666", path.display()));
    let _client = as_other_user(|| UnixStream::connect(&path).unwrap());
    assert_uid(&soon(acceptor.accept()).await, OTHER_USER);
}

#[test]
fn a_socket_of_0600_is_closed_to_another_user() {
    if !is_root("a_socket_of_0600_is_closed_to_another_user") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let path = folder.path().join("s.sock");
    let _listener = bind(&format!("unix:{}", path.display())).unwrap();
    let refused = as_other_user(|| UnixStream::connect(&path).map(drop)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_datagram_of_either_user() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own_inode = rustix::fs::fstat(&server).unwrap().st_ino;
    let local = server.local_addr().unwrap();
    let send = || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", local).unwrap();
        client
    };
    // What Java's DatagramSocket does.
    let send_mapped = || {
        let client = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        client
            .send_to(b"x", ("::ffff:127.0.0.1", local.port()))
            .unwrap();
        client
    };
    let expect = |uid| {
        let (_, peer) = server.recv_from(&mut [0; 1]).unwrap();
        let locality = identify_udp(peer, local, own_inode);
        assert!(
            matches!(locality, Locality::Local { uid: found, .. } if found == uid),
            "{locality:?}"
        );
    };
    let clients = [send(), send_mapped()];
    expect(own_uid());
    expect(own_uid());
    drop(clients);
    if is_root("a_datagram_of_either_user") {
        let _clients = as_other_user(|| [send(), send_mapped()]);
        expect(OTHER_USER);
        expect(OTHER_USER);
    }
}

#[test]
fn a_datagram_whose_socket_is_closed_is_nobodys() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own_inode = rustix::fs::fstat(&server).unwrap().st_ino;
    let local = server.local_addr().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"x", local).unwrap();
    drop(client);
    let (_, peer) = server.recv_from(&mut [0; 1]).unwrap();
    let caller = identify_udp(peer, local, own_inode).caller(Transport::Udp, peer);
    assert!(matches!(caller, Err(PeerUnknown::NoOwner(_))), "{caller:?}");
}

#[tokio::test]
async fn a_connection_closed_at_once_is_nobodys() {
    let mut acceptor = acceptor("127.0.0.1:0");
    let to = address(&acceptor);
    for reset in [false, true] {
        let mut client = TcpStream::connect(to).unwrap();
        client.write_all(b"touch x").unwrap();
        if reset {
            reset_on_close(&client);
        }
        drop(client);
        assert_nobody(&soon(acceptor.accept()).await);
    }
}

#[tokio::test]
async fn a_half_closed_connection_is_its_owners() {
    let mut acceptor = acceptor("127.0.0.1:0");
    let client = TcpStream::connect(address(&acceptor)).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_uid(&soon(acceptor.accept()).await, own_uid());
}

/// One user connects, sends and resets; another gets the same port and connects. The first one's bytes, which can
/// still be read, must not pass for the second one's.
#[tokio::test]
async fn the_next_owner_of_a_port_does_not_answer_for_the_last() {
    let mut acceptor = acceptor("127.0.0.1:0");
    let to = address(&acceptor);
    // Both hold the port for a while, so that nobody else gets it between them.
    let reusing = || {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        socket
    };
    let (first, second) = (reusing(), reusing());
    rustix::net::connect(&first, &to).unwrap();
    let mut first = TcpStream::from(first);
    first.write_all(b"touch x").unwrap();
    rustix::net::bind(&second, &first.local_addr().unwrap()).unwrap();
    reset_on_close(&first);
    drop(first);
    rustix::net::connect(&second, &to).unwrap();

    assert_nobody(&soon(acceptor.accept()).await);
    assert_uid(&soon(acceptor.accept()).await, own_uid());
}

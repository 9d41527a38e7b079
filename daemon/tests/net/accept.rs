//! The accept loop's permits and streams.

use std::{
    io::{IoSlice, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::Arc,
    time::Duration,
};

use remex_daemon::net::{AcceptLimits, PeerStream};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::support::{acceptor, acceptor_with, soon, tcp_address};

/// Long enough for what would happen to happen.
const A_WHILE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn no_more_connections_than_permits() {
    let permits = AcceptLimits { connections: 2 }.permits();
    let mut acceptor = acceptor_with("127.0.0.1:0", Arc::clone(&permits));
    let to = tcp_address(acceptor.local());
    let _clients = [(); 3].map(|()| TcpStream::connect(to).unwrap());
    let first = soon(acceptor.accept()).await;
    let _second = soon(acceptor.accept()).await;
    assert_eq!(permits.available_permits(), 0);
    assert!(timeout(A_WHILE, acceptor.accept()).await.is_err());
    drop(first);
    soon(acceptor.accept()).await.identify().unwrap();
}

#[tokio::test]
async fn a_cancelled_accept_loses_neither_permit_nor_connection() {
    let permits = AcceptLimits { connections: 1 }.permits();
    let mut acceptor = acceptor_with("127.0.0.1:0", Arc::clone(&permits));
    assert!(timeout(A_WHILE, acceptor.accept()).await.is_err());
    assert_eq!(permits.available_permits(), 1);
    let mut client = TcpStream::connect(tcp_address(acceptor.local())).unwrap();
    client.write_all(b"x").unwrap();
    let mut connection = soon(acceptor.accept()).await;
    assert_eq!(soon(connection.stream.read_u8()).await.unwrap(), b'x');
}

#[tokio::test]
async fn streams_are_unbuffered_and_vectored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    let mut tcp = acceptor("127.0.0.1:0");
    let mut unix = acceptor(&format!("unix:{}", path.display()));
    let mut to_tcp = TcpStream::connect(tcp_address(tcp.local())).unwrap();
    let mut to_unix = UnixStream::connect(&path).unwrap();
    let pairs: [(_, &mut dyn Read); 2] = [
        (soon(tcp.accept()).await, &mut to_tcp),
        (soon(unix.accept()).await, &mut to_unix),
    ];
    for (connection, client) in pairs {
        let mut stream = connection.stream;
        assert!(stream.tcp().is_none_or(|tcp| tcp.nodelay().unwrap()));
        assert!(stream.is_write_vectored());
        let parts = [IoSlice::new(b"head"), IoSlice::new(b"body")];
        assert_eq!(soon(stream.write_vectored(&parts)).await.unwrap(), 8);
        soon(stream.shutdown()).await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "headbody");
    }
}

#[tokio::test]
async fn a_reset_is_no_end() {
    let mut acceptor = acceptor("127.0.0.1:0");
    let mut client = TcpStream::connect(tcp_address(acceptor.local())).unwrap();
    let connection = soon(acceptor.accept()).await;
    assert!(matches!(connection.stream, PeerStream::Tcp(_)));
    connection.stream.reset();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_a_dropped_acceptor_held_can_be_had_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.sock");
    for address in ["127.0.0.1:0".to_owned(), format!("unix:{}", path.display())] {
        let first = acceptor(&address);
        let again = first.local().to_string().replace("tcp://", "");
        drop(first);
        assert!(!path.exists());
        drop(acceptor(&again));
    }
}

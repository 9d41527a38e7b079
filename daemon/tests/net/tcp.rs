//! TCP listeners.

use std::net::{Ipv4Addr, Ipv6Addr, TcpStream};

use remex_daemon::net::{BindError, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES};
use rustix::net::sockopt;

use crate::support::{acceptor, bind, soon, tcp_address};

#[test]
fn port_zero_is_any_that_is_free() {
    let listener = bind("127.0.0.1:0").unwrap();
    let address = tcp_address(&listener.local());
    assert_ne!(address.port(), 0);
    assert_eq!(listener.local().to_string(), format!("tcp://{address}"));
    assert_eq!(
        listener.local().with_scheme("http"),
        format!("http://{address}")
    );
    TcpStream::connect(address).unwrap();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let first = bind("127.0.0.1:0").unwrap();
    let address = tcp_address(&first.local());
    let error = bind(&address.to_string()).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)));
    let text = error.to_string();
    assert!(text.contains(&address.port().to_string()), "{text}");
    assert!(text.contains("127.0.0.1"), "{text}");
}

#[test]
fn a_port_is_free_once_its_listener_is_gone_whatever_its_connections_do() {
    let first = bind("127.0.0.1:0").unwrap();
    let address = tcp_address(&first.local());
    let _client = TcpStream::connect(address).unwrap();
    drop(first);
    bind(&address.to_string()).unwrap();
}

#[test]
fn an_address_of_another_machine_cannot_be_had() {
    let error = bind("192.0.2.1:0").unwrap_err();
    assert!(matches!(error, BindError::NotLocal(_)), "{error}");
}

#[test]
fn an_ipv6_wildcard_leaves_ipv4_alone() {
    let six = bind("[::]:0").unwrap();
    let port = tcp_address(&six.local()).port();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    let _four = bind(&format!("0.0.0.0:{port}")).unwrap();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
}

#[tokio::test]
async fn pitfall_26_and_60_a_connection_is_probed_by_tcp_alone() {
    let mut acceptor = acceptor("127.0.0.1:0");
    let _client = TcpStream::connect(tcp_address(acceptor.local())).unwrap();
    let stream = soon(acceptor.accept()).await.stream;
    let tcp = stream.tcp().unwrap();
    assert!(sockopt::socket_keepalive(tcp).unwrap());
    assert_eq!(sockopt::tcp_keepidle(tcp).unwrap(), KEEPALIVE_INTERVAL);
    assert_eq!(sockopt::tcp_keepintvl(tcp).unwrap(), KEEPALIVE_INTERVAL);
    assert_eq!(sockopt::tcp_keepcnt(tcp).unwrap(), KEEPALIVE_PROBES);
    assert_eq!(sockopt::tcp_user_timeout(tcp).unwrap(), 0);
}

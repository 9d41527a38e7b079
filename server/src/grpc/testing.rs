//! A listener, and a peer of it that says what a client begins with and nothing more.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream as StdStream},
};

use remex_daemon::net::{AcceptLimits, Acceptor, BoundAddress, Listener};
use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};

/// What a client begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// An empty frame of SETTINGS.
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// The type of a frame.
const GOAWAY: u8 = 7;

pub(super) fn listen() -> (Acceptor, SocketAddr) {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let acceptor = Acceptor::new(listener, AcceptLimits::default().permits()).unwrap();
    let BoundAddress::Tcp(address) = *acceptor.local() else {
        panic!("{} is not TCP", acceptor.local())
    };
    (acceptor, address)
}

/// Connects and says `words`, before anybody looks: by a paused clock, no time passes until then.
pub(super) fn say(to: SocketAddr, words: &[u8]) -> TcpStream {
    let mut peer = StdStream::connect(to).unwrap();
    peer.write_all(words).unwrap();
    peer.set_nonblocking(true).unwrap();
    TcpStream::from_std(peer).unwrap()
}

/// The same with what a client begins with.
pub(super) fn greet(to: SocketAddr) -> TcpStream {
    say(to, &[PREFACE, &SETTINGS].concat())
}

/// Reads to the end. Returns when it was asked to go, if it was.
pub(super) async fn read_to_end(mut peer: TcpStream) -> Option<Instant> {
    let mut asked = None;
    let mut header = [0; 9];
    while peer.read_exact(&mut header).await.is_ok() {
        let [a, b, c, kind, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        peer.read_exact(&mut payload).await.unwrap();
        if kind == GOAWAY {
            asked.get_or_insert_with(Instant::now);
        }
    }
    asked
}

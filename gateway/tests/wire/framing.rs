//! Requests in two pieces, cut at every byte: what runs is what the segments say, and no byte is lost or runs twice.

use std::net::SocketAddr;

use remex_gateway::{
    limits::Limits,
    wire::request::{self, Request},
};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::site::{PATIENCE, Peer, Site, soon};

/// A segment on a path with this MSS, less the options that every segment carries.
const MSS: u32 = 536;

/// The commands that `pieces` are if each of them arrives for itself, and whether all of them are answered.
fn commands(pieces: [&[u8]; 2], charset: &'static encoding_rs::Encoding) -> (Vec<String>, bool) {
    let mut commands = Vec::new();
    for (index, piece) in pieces.into_iter().enumerate() {
        if index > 0 && request::is_lone_newline(piece) {
            continue;
        }
        match request::parse(piece, charset, Limits::DEFAULT.request_bytes) {
            Ok(Request::Command(text)) => commands.push(text),
            Ok(Request::Blank) => {}
            Err(_) => return (commands, false),
        }
    }
    (commands, true)
}

fn asked(site: &Site) -> Vec<String> {
    let asked = site.fake.asked().into_iter();
    asked.map(|asked| asked.command.shell).collect()
}

/// A short segment is a whole command, wherever it ends.
#[tokio::test]
async fn pieces_that_arrive_apart_are_commands_of_their_own() {
    let gbk = encoding_rs::GBK.encode("out 你好").0.into_owned();
    for (url, charset, text) in [
        (
            "tcp://127.0.0.1:0/exec",
            encoding_rs::UTF_8,
            &b"out hello\r\n"[..],
        ),
        (
            "tcp://127.0.0.1:0/exec",
            encoding_rs::UTF_8,
            b"out a\nout b\n\n",
        ),
        (
            "tcp://127.0.0.1:0/exec",
            encoding_rs::UTF_8,
            "out 你好\n".as_bytes(),
        ),
        ("tcp://127.0.0.1:0/exec?charset=gbk", encoding_rs::GBK, &gbk),
        ("tcp://127.0.0.1:0/exec", encoding_rs::UTF_8, b"out a\0b"),
    ] {
        for cut in 1..text.len() {
            let limits = Limits {
                newline_wait: PATIENCE,
                ..Limits::default()
            };
            let site = Site::with(url, limits);
            let mut peer = site.connect().await;
            let pieces = [&text[..cut], &text[cut..]];
            let (expected, all_answered) = commands(pieces, charset);
            for (index, piece) in pieces.into_iter().enumerate() {
                peer.send(piece).await;
                if index > 0 && request::is_lone_newline(piece) {
                    continue;
                }
                // What comes back tells that it has been taken.
                let reply = peer.reply().await;
                if request::parse(piece, charset, Limits::DEFAULT.request_bytes).is_err() {
                    assert!(reply.text().ends_with("; nothing was run\n"));
                    peer.end().await;
                    break;
                }
            }
            assert_eq!(asked(&site), expected, "{} at {cut}", text.escape_ascii());
            if all_answered {
                let next = peer.ask("out next").await;
                assert_eq!(next.text().trim_start(), "next", "at {cut}");
            }
        }
    }
}

/// A client whose segments are small.
async fn narrow(address: SocketAddr) -> Peer<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_mss(MSS).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = TcpSocket::from_std_stream(socket.into());
    let stream = soon(socket.connect(address)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Peer { stream }
}

/// A command of several segments is one if it is cut between two of them, and two if it is cut elsewhere.
#[tokio::test]
async fn pieces_that_are_full_segments_are_one_command() {
    let site = Site::start("tcp://127.0.0.1:0/exec");
    let probe = narrow(site.address()).await;
    let segment =
        usize::try_from(socket2::SockRef::from(&probe.stream).tcp_mss().unwrap()).unwrap();
    // Of more than two words, and no token, so that no piece of it looks like HTTP's.
    let text = format!("out a b{}", "(".repeat(2 * segment + 100));
    let mut expected = Vec::new();
    let mut whole = 0;
    for cut in 1..text.len() {
        let mut peer = narrow(site.address()).await;
        peer.send(&text[..cut]).await;
        if cut.is_multiple_of(segment) {
            peer.send(&text[cut..]).await;
            assert_eq!(peer.reply().await.text(), &text[4..]);
            expected.push(text.clone());
            whole += 1;
        } else {
            peer.reply().await;
            peer.send(&text[cut..]).await;
            peer.reply().await;
            expected.extend([text[..cut].to_owned(), text[cut..].to_owned()]);
        }
    }
    assert_eq!(whole, 2, "segments have {segment} bytes");
    assert!(asked(&site) == expected);
}

/// What comes while a command runs is one command, in however many pieces.
#[tokio::test]
async fn pieces_that_come_while_a_command_runs_are_one_command() {
    let text = "out 你好\nmore\n";
    for cut in 1..text.len() {
        let site = Site::start("tcp://127.0.0.1:0/exec");
        let mut peer = site.connect().await;
        peer.send("hold;out first").await;
        soon(site.fake.running(1)).await;
        peer.send(&text.as_bytes()[..cut]).await;
        peer.send(&text.as_bytes()[cut..]).await;
        site.fake.release();
        assert_eq!(peer.reply().await.text(), "first");
        assert_eq!(peer.reply().await.text(), "你好\nmore");
        assert_eq!(asked(&site).len(), 2, "at {cut}");
    }
}

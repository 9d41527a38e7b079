//! Processes of other users: told so, in their own wire, and nothing of theirs runs. Needs root, to be another user.

use std::{
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use rustix::{process::Uid, thread::set_thread_uid};

use crate::site::{PATIENCE, Site, skip, soon};

const NOBODY: u32 = 65_534;

/// Runs `client` as nobody, in a thread of its own; sockets belong to the user of the thread that makes them.
async fn as_nobody<T: Send + 'static>(client: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if !rustix::process::geteuid().is_root() {
        return skip("another user");
    }
    let (sender, receiver) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        set_thread_uid(Uid::from_raw(NOBODY)).unwrap();
        sender.send(client()).ok().unwrap();
    });
    Some(soon(receiver).await.unwrap())
}

fn to_the_end(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

async fn asked_as_nobody(url: &str) -> (Site, Option<Vec<u8>>) {
    let site = Site::start(url);
    let address = site.address();
    let reply = as_nobody(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"out secret").unwrap();
        to_the_end(stream)
    });
    let reply = reply.await;
    (site, reply)
}

#[tokio::test]
async fn another_user_is_told_so_in_its_own_wire() {
    let (site, reply) = asked_as_nobody("tcp://127.0.0.1:0/exec?wire=length").await;
    let Some(reply) = reply else { return };
    let (length, text) = reply.split_at(4);
    assert_eq!(length, u32::try_from(text.len()).unwrap().to_le_bytes());
    assert!(text.starts_with(b"remex: user 65534 may not use this listener"));
    assert!(site.fake.asked().is_empty());
}

#[tokio::test]
async fn echo_is_denied_too() {
    let (_site, reply) = asked_as_nobody("tcp://127.0.0.1:0/echo").await;
    let Some(reply) = reply else { return };
    assert!(reply.starts_with(b"remex: user 65534 may not use this listener"));
}

#[tokio::test]
async fn a_datagram_of_another_user_is_told_so() {
    let site = Site::start("udp://127.0.0.1:0/exec");
    let address = site.address();
    let reply = as_nobody(move || {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket.send_to(b"out secret", address).unwrap();
        let mut reply = vec![0; 1024];
        let count = socket.recv(&mut reply).unwrap();
        reply.truncate(count);
        reply
    });
    let Some(reply) = reply.await else { return };
    assert!(reply.starts_with(b"remex: user 65534 may not use this listener"));
    assert!(site.fake.asked().is_empty());
}

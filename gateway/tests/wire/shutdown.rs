//! Stopping: what runs ends, what waits is closed, what is cut is reset, and every port is free again.

use std::net::{TcpListener, UdpSocket};

use remex_gateway::limits::Limits;

use crate::site::{Site, soon};

#[tokio::test]
async fn what_runs_ends_and_what_waits_is_closed() {
    let site = Site::start("tcp://127.0.0.1:0/exec");
    let address = site.address();
    let mut idle = site.connect().await;
    assert_eq!(idle.ask("out a").await.text(), "a");
    let mut busy = site.connect().await;
    busy.send("fill 5000000").await;
    soon(site.fake.ended(2)).await;
    let length = busy.int32().await;
    site.stop();
    idle.end().await;
    busy.exactly(length).await;
    assert_eq!(busy.exactly(5_000_000).await.len(), 5_000_000);
    busy.end().await;
    site.stopped().await;
    TcpListener::bind(address).unwrap();
}

#[tokio::test]
async fn what_is_cut_is_reset_and_its_command_killed() {
    let site = Site::start("tcp://127.0.0.1:0/exec");
    let (address, fake) = (site.address(), site.fake.clone());
    let mut peer = site.connect().await;
    peer.send("wait").await;
    soon(fake.running(1)).await;
    site.abort().await;
    peer.reset().await;
    soon(fake.running(0)).await;
    soon(async {
        while TcpListener::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_datagram_that_runs_is_answered() {
    let site = Site::with("udp://127.0.0.1:0/exec", Limits::default());
    let address = site.address();
    let socket = site.udp().await;
    socket.send(b"fill 60000").await.unwrap();
    let mut reply = vec![0; 65_536];
    assert_eq!(soon(socket.recv(&mut reply)).await.unwrap(), 60_000);
    site.stop();
    site.stopped().await;
    UdpSocket::bind(address).unwrap();
}

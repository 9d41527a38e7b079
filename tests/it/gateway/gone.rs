//! Clients that go in mid-command, and one that only seems to.

use std::{net::SocketAddr, time::Instant};

use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use super::support::{Legacy, remexd, script};
use crate::harness::{Marker, eventually, tools};

/// A leader, and children in its session, in one of their own, and of a child.
fn tree(marker: &Marker) -> String {
    format!("setsid sleep {marker} & sleep {marker} & sh -c 'sleep {marker}; true'; wait")
}
/// The processes that it has: the two shells, and three sleepers.
const TREE: usize = 5;

/// A client in a process of its own, whose command is a tree, and runs.
pub(super) async fn holding(
    address: SocketAddr,
    end: &str,
    marker: &Marker,
    spawn: impl FnOnce(Command) -> Child,
) -> Child {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut client = script("hold.py", &[&host, &port, end]);
    client.env("COMMAND", tree(marker));
    let client = spawn(client);
    eventually("the whole tree", || {
        (marker.processes().len() == TREE).then_some(())
    })
    .await;
    client
}

/// A client, another process, is killed while its command runs.
async fn killed(end: &str) {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let marker = Marker::new();
    let spawn = |mut client: Command| client.spawn().expect("python3 runs");
    let mut client = holding(daemon.socket("tcp-exec"), end, &marker, spawn).await;
    let begin = Instant::now();
    client.kill().await.expect("it is killed");
    marker.is_gone().await;
    let took = begin.elapsed();
    eprintln!("a client killed with {end}: its tree is gone after {took:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn a_killed_client_takes_its_tree_with_it() {
    skip_unless!(tools::program("python3"));
    killed("fin").await;
}

#[tokio::test]
async fn a_client_that_resets_takes_its_tree_with_it() {
    skip_unless!(tools::program("python3"));
    killed("rst").await;
}

#[tokio::test]
async fn a_client_that_half_closes_has_its_reply() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let mut client = Legacy::connect(daemon.socket("tcp-exec")).await;
    // Long enough to be looked for several times.
    client.send("sleep 2; echo done").await;
    client.stream.shutdown().await.expect("a half-close");
    assert_eq!(client.reply().await.expect("a reply").text(), "done\n");
    assert_eq!(client.rest().await, b"");
    daemon.stop().await;
}

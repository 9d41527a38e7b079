//! Clients that go in mid-command, and one that only seems to.

use std::time::Instant;

use tokio::io::AsyncWriteExt;

use super::support::{Legacy, remexd, script};
use crate::harness::{Marker, tools};

/// A leader, a child of its own session, and one in between.
pub(super) fn tree(marker: &Marker) -> String {
    format!("setsid sleep {marker} & sleep {marker} & sh -c 'sleep {marker}; true'; wait")
}

/// A client, another process, is killed while its command runs.
async fn killed(end: &str) {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    let marker = Marker::new();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut client = script("hold.py", &[&host, &port, end, &tree(&marker)])
        .spawn()
        .expect("python3 runs");
    marker.appears().await;
    client.kill().await.expect("it is killed");
    let begin = Instant::now();
    marker.is_gone().await;
    eprintln!(
        "a client killed with {end}: its tree is gone after {:?}",
        begin.elapsed()
    );
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

//! Peers that mean harm: handshakes that never end, that are slow, that are none; an honest client is served all the while.

use std::{net::SocketAddr, time::Duration};

use remex_client::{Client, Command};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{interval, sleep},
};

use super::site::{Site, assert_unconnected, connect, known_as};
use crate::{
    harness::{Daemon, eventually, soon, tools::program},
    supervision::support::count,
};

/// Handshakes at once that one peer may have.
const HANDSHAKES: usize = 128;
/// Descriptors that come and go beside them.
const SLACK: usize = 40;

/// The beginning of a ClientHello that says it is longer.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 1, 2, 3];

async fn half_done(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    // It may have been given up by now.
    let _ = stream.write_all(HALF_A_HELLO).await;
    Some(stream)
}

/// A new connection, a handshake, and a command.
async fn honest(daemon: &Daemon, site: &Site) {
    let files = site.showing("client", &site.ca.client("runner.example"));
    assert_eq!(known_as(daemon, files).await.unwrap(), "dns:runner.example");
}

#[tokio::test]
async fn half_done_handshakes_are_bounded_and_keep_nobody_out() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    honest(&daemon, &site).await;
    let before = daemon.open_files();
    let address = daemon.socket("grpc");
    let mut held = Vec::new();
    for _ in 0..count(4, 20) {
        let each = (0..250).map(|_| half_done(address));
        held.extend(futures_util::future::join_all(each).await);
        honest(&daemon, &site).await;
    }
    let bound = before + HANDSHAKES + SLACK;
    eventually("the end of those that are too many", || {
        (daemon.open_files() <= bound).then_some(())
    })
    .await;
    drop(held);
    eventually("the end of all", || {
        (daemon.open_files() <= before + SLACK).then_some(())
    })
    .await;
    honest(&daemon, &site).await;
    daemon.stop().await;
}

/// A byte now and then does not keep a handshake alive.
#[tokio::test]
async fn slow_handshakes_end() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let address = daemon.socket("grpc");
    let mut slow = JoinSet::new();
    for _ in 0..20 {
        slow.spawn(async move {
            let (mut read, mut write) = half_done(address).await.unwrap().into_split();
            let dripping = async {
                let mut pace = interval(Duration::from_millis(100));
                loop {
                    pace.tick().await;
                    if write.write_all(b"x").await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            let mut byte = [0; 1];
            tokio::select! {
                // Either end is one.
                _ = read.read(&mut byte) => {}
                () = dripping => {}
            }
        });
    }
    honest(&daemon, &site).await;
    soon("the end of slow handshakes", slow.join_all()).await;
    site.home.logged(&["no TLS handshake within 10s"]).await;
    daemon.stop().await;
}

/// What is no TLS, an old version of it, no HTTP/2 within it, or a certificate that no client has.
#[tokio::test]
async fn what_is_no_handshake_is_turned_away() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let address = daemon.socket("grpc");
    let garbage = vec![0xff; 64 * 1024];
    for bytes in [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        &garbage,
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be closed before all of it is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = soon("its end", stream.read_to_end(&mut answer)).await;
        assert!(
            answer.len() < 100 && !answer.starts_with(b"HTTP"),
            "{answer:?}"
        );
    }
    // More than a handshake may say.
    let mut long = site.ca.client("long.example");
    long.pem = long.pem.repeat(400);
    let files = site.showing("long", &long);
    assert_unconnected(known_as(&daemon, files).await, &["https://127.0.0.1:"]);
    honest(&daemon, &site).await;
    assert!(site.executions().await.len() == 1, "something ran");
    daemon.stop().await;
}

#[tokio::test]
async fn tls_before_1_3_is_not_spoken_so_there_is_no_renegotiation() {
    let openssl = skip_unless!(program("openssl"));
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let connect = daemon.socket("grpc").to_string();
    for (version, is_spoken) in [("-tls1_2", false), ("-tls1_3", true)] {
        let mut client = tokio::process::Command::new(&openssl);
        client.args(["s_client", "-connect", &connect, version, "-alpn", "h2"]);
        client.stdin(std::process::Stdio::null());
        let output = soon("openssl", client.output()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.contains("BEGIN CERTIFICATE"), is_spoken, "{text}");
    }
    daemon.stop().await;
}

/// The plainest floods of HTTP/2, over TLS: calls that are reset as soon as they were made.
#[tokio::test]
async fn a_flood_over_tls_leaves_others_served() {
    let site = Site::new();
    let daemon = site.start_mutual().await;
    let mut floods = JoinSet::new();
    for index in 0..4 {
        let leaf = site.ca.client(&format!("flood-{index}.example"));
        let files = site.showing(&format!("flood-{index}"), &leaf);
        let client: Client = connect(&daemon, files).await.unwrap();
        floods.spawn(async move {
            loop {
                // Dropped in the middle.
                let call = client.run(Command::new("true"));
                let _ = tokio::time::timeout(Duration::from_millis(1), call).await;
            }
        });
    }
    for _ in 0..count(5, 100) {
        honest(&daemon, &site).await;
        sleep(Duration::from_millis(10)).await;
    }
    floods.shutdown().await;
    honest(&daemon, &site).await;
    daemon.stop().await;
}

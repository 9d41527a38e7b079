//! Floods: what is past a limit is refused as stated, memory stays flat, honest clients are served meanwhile.

use std::{net::SocketAddr, time::Duration};

use remex_gateway::limits;
use tokio::{io::AsyncWriteExt, net::UdpSocket, time::timeout};

use super::support::{Legacy, count, remexd, resident};
use crate::harness::{Daemon, Marker, eventually, soon};

/// What a flood may leave in memory: buffers that allocators keep.
const FLAT_BYTES: u64 = 24 * 1024 * 1024;

async fn honest(address: SocketAddr) {
    let mut client = Legacy::connect(address).await;
    assert_eq!(client.ask("echo honest").await.text(), "honest\n");
}

fn assert_flat(daemon: &Daemon, before: u64) {
    let (_, peak) = resident(daemon.pid());
    let more = peak.saturating_sub(before);
    assert!(more < FLAT_BYTES, "{} KiB more", more >> 10);
}

#[tokio::test]
async fn commands_past_the_limit_are_refused() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec", "tcp://127.0.0.1:0/echo"]).await;
    let address = daemon.socket("tcp-exec");
    let marker = Marker::new();
    let mut flood = Vec::new();
    for _ in 0..limits::RUNNING_COMMANDS {
        let mut client = Legacy::connect(address).await;
        client.send(format!("exec sleep {marker}")).await;
        flood.push(client);
    }
    eventually("the flood", || {
        (marker.processes().len() >= limits::RUNNING_COMMANDS).then_some(())
    })
    .await;
    let mut late = Legacy::connect(address).await;
    let refusal = late.ask("echo late").await;
    let expected = "remex: 1500 commands are running, as many as may; try again later\n";
    assert_eq!(refusal.text(), expected);
    assert!(refusal.header["exit_code"].is_null());

    let mut echo = Legacy::connect(daemon.socket("tcp-echo")).await;
    echo.send("x").await;
    let mut back = [0];
    soon(
        "an echo",
        tokio::io::AsyncReadExt::read_exact(&mut echo.stream, &mut back),
    )
    .await
    .expect("an echo");
    assert_eq!(&back, b"X");

    drop(flood);
    marker.is_gone().await;
    eventually_served(&mut late).await;
    assert!(
        daemon
            .home()
            .log()
            .contains("beyond the limit of running commands")
    );
    daemon.stop().await;
}

/// On the connection that was refused before.
async fn eventually_served(client: &mut Legacy) {
    soon("an end of refusals", async {
        while client.ask("echo late").await.text() != "late\n" {}
    })
    .await;
}

#[tokio::test]
async fn a_command_past_the_limit_is_refused() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    let mut client = Legacy::connect(address).await;
    let longest = format!("echo {}", "x".repeat(limits::REQUEST_BYTES - 5));
    assert_eq!(
        client.ask(&longest).await.body.len(),
        limits::REQUEST_BYTES - 4
    );
    client.send(longest + "x").await;
    let refusal = client.reply().await.expect("a reply");
    let expected =
        "remex: the command is longer than 65536 bytes; put it into a script; nothing was run\n";
    assert_eq!(refusal.text(), expected);
    assert_eq!(client.rest().await, b"");
    honest(address).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_flood_without_an_end_is_cut_off() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let address = daemon.socket("tcp-exec");
    honest(address).await;
    let (before, _) = resident(daemon.pid());
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..count(4, 40) {
        let mut flood = Vec::new();
        for _ in 0..50 {
            flood.push(Legacy::connect(address).await);
        }
        let sending = flood.into_iter().map(|mut client| {
            let chunk = chunk.clone();
            // Until it is cut off, which it must be.
            async move { while client.stream.write_all(&chunk).await.is_ok() {} }
        });
        let honest = honest(address);
        let floods = futures_util::future::join_all(sending);
        soon(
            "the end of the flood",
            futures_util::future::join(floods, honest),
        )
        .await;
    }
    honest(address).await;
    assert_flat(&daemon, before);
    assert!(daemon.home().log().contains("refused a malformed command"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_flood_of_datagrams_leaves_the_others_their_share() {
    let daemon = remexd(&["udp://127.0.0.1:0/echo"]).await;
    let address = daemon.socket("udp-echo");
    let (before, _) = resident(daemon.pid());
    let flood = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let honest = UdpSocket::bind("127.0.0.2:0").await.expect("a socket");
    flood.connect(address).await.expect("connected");
    honest.connect(address).await.expect("connected");
    let mut served = 0;
    for round in 0..count(20, 200) {
        for _ in 0..2000 {
            let _ = flood.try_send(b"flood");
        }
        // A datagram may be lost in the crowd; then a client asks again.
        let text = format!("honest {round}");
        let mut reply = [0; 64];
        honest.send(text.as_bytes()).await.expect("sent");
        if let Ok(size) = timeout(Duration::from_secs(1), honest.recv(&mut reply)).await {
            assert!(reply[..size.expect("a reply")].starts_with(b"HONEST "));
            served += 1;
        }
    }
    assert!(served > 0, "nobody but the flood was served");
    assert_flat(&daemon, before);
    assert!(daemon.home().log().contains("beyond the rate limits"));
    daemon.stop().await;
}

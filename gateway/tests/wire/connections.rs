//! What a connection may do: be split, be pipelined, half-close, go away.

use std::time::Duration;

use remex_gateway::limits::Limits;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
};

use crate::site::{Peer, Site, soon};

const URL: &str = "tcp://127.0.0.1:0/exec";

#[tokio::test]
async fn a_command_of_one_segment_is_one_command() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    for length in [1_024, 1_448, 1_500, 9_000, 30_000] {
        let text = "y".repeat(length - 4);
        assert_eq!(peer.ask(&format!("out {text}")).await.text(), text);
    }
}

#[tokio::test]
async fn the_longest_command_is_one_command() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    let text = "y".repeat(64 * 1024 - 4);
    assert_eq!(peer.ask(&format!("out {text}")).await.text(), text);
    assert_eq!(peer.ask(&format!("out {text}\n")).await.text(), text);
    assert_eq!(site.fake.asked().len(), 2);
}

#[tokio::test]
async fn newlines_do_not_end_a_command() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    assert_eq!(peer.ask("out a\nb\nc\n").await.text(), "a\nb\nc");
}

#[tokio::test]
async fn what_comes_while_a_command_runs_is_the_next() {
    let site = Site::start(URL);
    let mut first = site.connect().await;
    let bytes = 3_000_000;
    first.send(format!("fill {bytes}")).await;
    soon(site.fake.ended(1)).await;
    // Its reply does not fit into the sockets, so it is still being written.
    first.send("out se").await;
    first.send("cond").await;
    assert_eq!(first.reply().await.body.len(), bytes);
    assert_eq!(first.reply().await.text(), "second");
    assert_eq!(site.fake.asked().len(), 2);
}

#[tokio::test]
async fn many_clients_are_served_at_once() {
    let site = Site::start(URL);
    let mut waiting = Vec::new();
    for count in 1..=20 {
        let mut peer = site.connect().await;
        peer.send("wait").await;
        soon(site.fake.running(count)).await;
        waiting.push(peer);
    }
    assert_eq!(site.connect().await.ask("out a").await.text(), "a");
}

#[tokio::test]
async fn a_half_close_still_gets_its_reply() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    peer.send("fill 100000;out end").await;
    peer.stream.shutdown().await.unwrap();
    assert!(peer.reply().await.body.ends_with(b"xend"));
    peer.end().await;
}

#[tokio::test]
async fn an_end_without_a_command_runs_nothing() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    peer.stream.shutdown().await.unwrap();
    peer.end().await;
    assert!(site.fake.asked().is_empty());
}

async fn command_is_killed_when<F: Future<Output = ()>>(leave: impl FnOnce(Peer<TcpStream>) -> F) {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    peer.send("wait").await;
    soon(site.fake.running(1)).await;
    leave(peer).await;
    soon(site.fake.running(0)).await;
}

#[tokio::test]
async fn a_client_that_closes_has_its_command_killed() {
    command_is_killed_when(async |peer| drop(peer)).await;
}

#[tokio::test]
async fn a_client_that_resets_has_its_command_killed() {
    command_is_killed_when(async |peer| {
        SockRef::from(&peer.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_client_that_half_closes_and_then_goes_has_its_command_killed() {
    command_is_killed_when(async |mut peer| peer.stream.shutdown().await.unwrap()).await;
}

#[tokio::test]
async fn a_client_of_a_unix_socket_that_goes_has_its_command_killed() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("unix:{}/legacy.sock?service=exec", folder.path().display());
    let site = Site::start(&url);
    let mut peer = site.connect_unix().await;
    peer.send("out a").await;
    peer.stream.shutdown().await.unwrap();
    assert_eq!(peer.reply().await.text(), "a");
    let mut peer = site.connect_unix().await;
    peer.send("wait").await;
    soon(site.fake.running(1)).await;
    drop(peer);
    soon(site.fake.running(0)).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_reset() {
    // In memory, and from the spool.
    for memory_bytes in [1 << 30, 1 << 20] {
        let limits = Limits {
            write_stall: Duration::from_millis(50),
            memory_bytes,
            ..Limits::default()
        };
        let site = Site::with(URL, limits);
        let mut peer = site.connect().await;
        peer.send("fill 50000000").await;
        soon(peer.stream.ready(Interest::ERROR)).await.unwrap();
        peer.reset().await;
        site.stop();
        site.stopped().await;
    }
}

#[tokio::test]
async fn a_client_that_reads_a_trickle_is_reset() {
    let limits = Limits {
        write_stall: Duration::from_millis(100),
        least_spooled_bytes: u64::MAX,
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    let mut peer = site.connect().await;
    peer.send("fill 50000000").await;
    // A little at a time, so that something is taken in every window.
    let mut byte = vec![0; 64 * 1024];
    let reading = async {
        while let Ok(1..) = peer.stream.read(&mut byte).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(reading).await;
    soon(site.fake.ended(1)).await;
}

/// Reads a byte now and then, or none at all, until the connection is reset.
async fn hold_up(mut peer: Peer<TcpStream>, reads: bool) {
    /// Many times in each window.
    const NOW_AND_THEN: Duration = Duration::from_millis(5);
    let reset = async {
        // What had arrived before a reset can still be read.
        while tokio::time::timeout(NOW_AND_THEN, peer.stream.ready(Interest::ERROR))
            .await
            .is_err()
        {
            if reads {
                peer.stream.read_exact(&mut [0]).await.unwrap();
            }
        }
    };
    soon(reset).await;
}

/// A byte a minute keeps no disk from the others: 4 MiB a minute do, so that the longest reply holds it for 17 hours.
#[tokio::test]
async fn an_unread_reply_does_not_hold_the_spool() {
    const REPLY_BYTES: usize = 50_000_000;
    let Limits {
        write_stall,
        least_spooled_bytes,
        body_bytes,
        ..
    } = Limits::DEFAULT;
    let windows = u32::try_from(body_bytes / least_spooled_bytes).unwrap();
    assert!(write_stall * windows <= Duration::from_hours(18));
    for reads in [false, true] {
        let limits = Limits {
            write_stall: Duration::from_millis(500),
            // For one such reply, and not for two.
            spool_bytes: 60_000_000,
            ..Limits::default()
        };
        let site = Site::with(URL, limits);
        let mut slow = site.connect().await;
        slow.send(format!("fill {REPLY_BYTES}")).await;
        // Its reply is all there when it begins.
        soon(slow.stream.readable()).await.unwrap();
        let held_up = tokio::spawn(hold_up(slow, reads));
        let mut other = site.connect().await;
        let reply = other.ask(&format!("fill {REPLY_BYTES}")).await;
        assert_eq!(
            reply.header["truncated"], true,
            "it has the slow one's room"
        );
        assert_eq!(other.ask("out a").await.text(), "a");
        soon(held_up).await.unwrap();
        // The room is free a moment after the reset.
        let whole = async {
            while other.ask(&format!("fill {REPLY_BYTES}")).await.body.len() < REPLY_BYTES {}
        };
        soon(whole).await;
    }
}

#[tokio::test]
async fn a_command_counts_until_its_reply_is_handed_over() {
    let limits = Limits {
        running_commands: 1,
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    let mut first = site.connect().await;
    first.send("fill 50000000").await;
    soon(site.fake.ended(1)).await;
    let mut second = site.connect().await;
    let reply = second.ask("out a").await;
    assert!(
        reply.text().contains("replies that are not read yet"),
        "{}",
        reply.text()
    );
    assert_eq!(first.reply().await.body.len(), 50_000_000);
    // The permit is given back a moment after the last byte was handed over.
    while second.ask("out a").await.text() != "a" {}
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let limits = Limits {
        idle: Duration::from_millis(30),
        ..Limits::default()
    };
    let site = Site::with(URL, limits);
    site.connect().await.end().await;
}

//! Whoever is slow: with the preface, with headers, with a message, with reading.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use remex_client::{Client, Endpoint};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::interval};

use super::{
    figures::mib,
    frames::{CONTINUATION, DATA, END_HEADERS, HEADERS, PREFACE, Raw, call, field, frame},
    trial::{Bounds, Trial, attack_time, for_its_time},
};
use crate::{
    harness::soon,
    supervision::support::{Running, argv, count},
    unfinished::{connect, send_unfinished, standstill},
};

const RUN: &str = "/remex.v1.ExecService/Run";
const MIB: usize = 1 << 20;
/// The largest message that is taken.
const MESSAGE_BYTES: usize = 4 * MIB;
/// Between two small pieces.
const PACE: Duration = Duration::from_millis(10);

/// What a few slow peers may cost.
const SMALL: Bounds = Bounds {
    peak: 48,
    after: 16,
};

/// Attacks a server of its own with `attack`, which is told where it is.
async fn on_trial(name: &str, bounds: Bounds, attack: impl AsyncFnOnce(&Endpoint, SocketAddr)) {
    let trial = Trial::start(&[]).await;
    let endpoint = trial.server.daemon.endpoint();
    let address = trial.server.daemon.socket("grpc");
    let attack = attack(&endpoint, address);
    Box::pin(trial.attack(name, bounds, attack))
        .await
        .stop()
        .await;
}

/// Many connections, each of which sends `first` and then, again and again, `next`.
async fn in_drops(name: &str, first: &[u8], next: &[u8]) {
    on_trial(name, SMALL, async |_, address| {
        let slow = async || {
            let Ok(raw) = Raw::connect(address).await else {
                return;
            };
            let mut raw = raw.listen();
            let mut pace = interval(PACE);
            let mut sent = raw.send(first).await;
            while sent.is_ok() {
                pace.tick().await;
                sent = raw.send(next).await;
            }
        };
        let each = (0..count(20, 200)).map(|_| for_its_time(&slow));
        join_all(each).await;
    })
    .await;
}

/// A connection that never sends its preface is closed, and keeps nobody out until then.
#[tokio::test]
async fn prefaces() {
    on_trial("slow prefaces", SMALL, async |_, address| {
        let mut slow = Vec::new();
        for _ in 0..count(50, 1000) {
            let mut peer = TcpStream::connect(address).await.expect("a connection");
            peer.write_all(&PREFACE[..3]).await.expect("it is taken");
            slow.push(peer);
        }
        // In a long run, until the server has closed each of them.
        if crate::supervision::support::is_long() {
            for peer in &mut slow {
                let mut dropped = tokio::io::sink();
                let end = tokio::io::copy(peer, &mut dropped);
                // A reset is an end, too.
                let _ = soon("the end of a connection without a preface", end).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn headers() {
    let first = frame(HEADERS, 0, 1, &call(RUN));
    let next = frame(CONTINUATION, 0, 1, &field("x", "y"));
    in_drops("slow headers", &first, &next).await;
}

/// A message of which a byte comes now and then.
#[tokio::test]
async fn messages() {
    let headers = frame(HEADERS, END_HEADERS, 1, &call(RUN));
    let first = [headers, frame(DATA, 0, 1, &prefix())].concat();
    in_drops("slow messages", &first, &frame(DATA, 0, 1, b"x")).await;
}

/// What stands before the largest message.
fn prefix() -> [u8; 5] {
    let len = u32::try_from(MESSAGE_BYTES - 16)
        .expect("it fits")
        .to_be_bytes();
    [0, len[0], len[1], len[2], len[3]]
}

/// Requests of which all comes but the last byte, as fast as the server takes them.
#[tokio::test]
async fn requests_that_never_end() {
    const CONNECTIONS: usize = 3;
    const STREAMS: usize = 500;
    long_only!();
    let trial = Trial::start(&[]).await;
    let bounds = Bounds {
        // What they may hold together, each connection's window, and a frame of each that waits.
        peak: 64 + 3 * 16 + 3 * 500 * 16 / 1024 + 32,
        after: 24,
    };
    let sent = Arc::new(AtomicUsize::new(0));
    let daemon = &trial.server.daemon;
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        senders.push(connect(daemon).await);
    }
    let attack = async {
        let mut requests = JoinSet::new();
        for sender in senders {
            for _ in 0..STREAMS {
                requests.spawn(send_unfinished(sender.clone(), Arc::clone(&sent)));
            }
        }
        standstill(|| sent.load(Ordering::Relaxed)).await;
        tokio::time::sleep(attack_time()).await;
    };
    let trial = Box::pin(trial.attack("1,500 requests that never end", bounds, attack)).await;
    eprintln!(
        "{} of them were taken",
        mib(sent.load(Ordering::Relaxed) as u64)
    );
    trial.stop().await;
}

/// Streams of output that nobody reads, each on a connection of its own: on one, the client's own window would hold up the next.
#[tokio::test]
async fn readers() {
    let bounds = Bounds {
        peak: 96,
        after: 32,
    };
    on_trial("readers that do not read", bounds, async |endpoint, _| {
        let mut unread = Vec::new();
        for _ in 0..count(10, 100) {
            let client = Client::connect(endpoint).await.expect("a connection");
            unread.push(Running::begin(client, argv(["yes"])).await);
        }
        tokio::time::sleep(attack_time()).await;
        drop(unread);
    })
    .await;
}

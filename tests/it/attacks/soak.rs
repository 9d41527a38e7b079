//! Mixed load for a long time: what grows, grows with the load and not with the time.
//! `REMEX_LONG=1 cargo test -p remex --test it soak -- --nocapture` takes ten minutes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use remex_client::{Client, Command};
use tokio::sync::Mutex;

use super::{
    figures::{Latencies, Memory, mib},
    trial::{Trial, honest_call},
};
use crate::{
    harness::{Marker, eventually, soon},
    supervision::support::{Random, RequestExt, Running, Server, argv, is_long, shell},
};

/// Callers at once, each on a connection of its own.
const CALLERS: usize = 8;
/// Memory may be so much more at the end than after the first tenth, when buffers and records have been filled.
const GROWTH_BYTES: u64 = 32 << 20;
/// Descriptors likewise: another connection's or so.
const GROWTH_FILES: usize = 16;

fn time() -> Duration {
    if is_long() {
        Duration::from_mins(10)
    } else {
        Duration::from_secs(3)
    }
}

/// What callers have seen.
#[derive(Default)]
struct Seen {
    honest: Latencies,
    calls: [usize; KINDS],
}

const KINDS: usize = 6;
const NAMES: [&str; KINDS] = ["Run", "stream", "stdin", "timeout", "signal", "cancel"];

async fn one(client: &Client, kind: usize, marker: &Marker) -> Option<Duration> {
    match kind {
        0 => return Some(honest_call(client).await),
        1 => {
            let running = Running::begin(client.clone(), argv(["seq", "1", "20000"])).await;
            assert_eq!(running.end().await.stdout.len(), 108_894);
        }
        2 => {
            let command = Command::new("wc").arg("-c").stdin(vec![b'x'; 300_000]);
            let outcome = soon("a run", client.run(command)).await.expect("it runs");
            assert_eq!(outcome.stdout, "300000\n");
        }
        3 => {
            let request = shell(format!("sleep {marker} & exec sleep {marker}")).timeout(20);
            let record = Running::begin(client.clone(), request).await.end().await;
            assert_eq!(record.ending().1, 15);
        }
        4 => {
            let request = argv(["sleep", &marker.to_string()]);
            let running = Running::begin(client.clone(), request).await;
            running.signal(9).await.expect("it runs");
            assert_eq!(running.end().await.ending().1, 9);
        }
        _ => {
            let request = shell(format!("yes & exec sleep {marker}"));
            drop(Running::begin(client.clone(), request).await);
        }
    }
    None
}

async fn caller(server: &Server, marker: &Marker, until: Instant, seen: &Mutex<Seen>) {
    let client = server.daemon.client().await;
    let mut random = Random::new();
    while Instant::now() < until {
        let kind = random.below(KINDS);
        let time = one(&client, kind, marker).await;
        let mut seen = seen.lock().await;
        seen.calls[kind] += 1;
        if let Some(time) = time {
            seen.honest.push(time);
        }
    }
}

async fn load(server: &Server, time: Duration) -> Seen {
    let marker = Marker::new();
    let seen = Mutex::default();
    let until = Instant::now() + time;
    let callers = (0..CALLERS).map(|_| caller(server, &marker, until, &seen));
    join_all(callers).await;
    marker.is_gone().await;
    seen.into_inner()
}

#[tokio::test]
async fn soak() {
    let trial = Trial::start(&[]).await;
    let server = &trial.server;
    let pid = server.daemon.pid();
    let files = server.daemon.open_files();
    load(server, time() / 10).await;
    let before = Memory::of(pid).now;
    let threads = server.daemon.status("Threads");
    let seen = load(server, time() * 9 / 10).await;
    let Memory { now, peak } = Memory::of(pid);
    eprintln!(
        "soak: memory {} after the first tenth, {} at the end, {} at worst",
        mib(before),
        mib(now),
        mib(peak)
    );
    eprintln!("soak: Run {}", seen.honest);
    for (name, calls) in NAMES.iter().zip(seen.calls) {
        eprintln!("soak: {name:8}{calls:8}");
        assert!(calls > 0, "no {name}");
    }
    eventually("its connections' end", || {
        (server.daemon.open_files() <= files + GROWTH_FILES).then_some(())
    })
    .await;
    if is_long() {
        assert!(now <= before + GROWTH_BYTES, "it has grown to {}", mib(now));
        assert!(server.daemon.status("Threads") <= threads + 4);
    }
    trial.stop().await;
}

//! Callers that go as soon as they have come, and peers that may not come at all.

use std::{process::Stdio, time::Duration};

use futures_util::{StreamExt, stream};
use remex_client::Client;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::trial::{Bounds, Trial, honest_call};
use crate::{
    harness::{
        Marker, soon,
        tools::{OTHER_USER, root},
    },
    supervision::support::{RequestExt, argv, count, shell},
};

/// As many of the storm are on their way at once.
const AT_ONCE: usize = 64;

async fn cancel_storm(trial: Trial, name: &str) {
    let marker = Marker::new();
    let address = trial.server.daemon.endpoint();
    let client = Client::connect(&address).await.expect("a connection");
    let bounds = Bounds {
        peak: 128,
        after: 48,
    };
    let attack = async {
        let one = async |_: usize| {
            let request = argv(["sleep", &marker.to_string()]);
            // Refused where too many run at once, or cancelled when it runs.
            drop(client.exec().start(request).await);
        };
        let storm = stream::iter(0..count(300, 20_000)).map(one);
        storm.buffer_unordered(AT_ONCE).collect::<()>().await;
        marker.is_gone().await;
    };
    Box::pin(trial.attack(name, bounds, attack))
        .await
        .stop()
        .await;
}

#[tokio::test]
async fn cancels() {
    cancel_storm(Trial::start(&[]).await, "cancel storm").await;
}

#[tokio::test]
async fn cancels_by_sweep() {
    let trial = Trial::start(&["--containment", "sweep"]).await;
    cancel_storm(trial, "cancel storm, by sweep").await;
}

/// Commands that ignore TERM and time out all at once.
#[tokio::test]
async fn timeouts_by_sweep() {
    const COMMANDS: usize = 400;
    /// The last of them is gone by then.
    const GONE: Duration = Duration::from_secs(3);
    long_only!();
    let trial = Trial::start(&["--containment", "sweep"]).await;
    let client = trial.server.daemon.client().await;
    let marker = Marker::new();
    let bounds = Bounds {
        peak: 64,
        after: 32,
    };
    let attack = async {
        let text = format!("trap '' TERM; echo ready; while :; do sleep {marker}; done");
        let mut running = Vec::new();
        for _ in 0..COMMANDS {
            let request = shell(text.clone()).kill_after(100);
            running.push(client.exec().start(request).await.expect("it starts"));
        }
        drop(running);
        let begin = std::time::Instant::now();
        marker.is_gone().await;
        eprintln!(
            "{COMMANDS} cancelled at once were gone after {:?}",
            begin.elapsed()
        );
        assert!(begin.elapsed() < GONE, "{:?}", begin.elapsed());
    };
    Box::pin(trial.attack("400 cancelled at once, by sweep", bounds, attack))
        .await
        .stop()
        .await;
}

/// Opens connections, as whoever it runs as, and holds them until its stdin ends.
const HOLDER: &str = "
import resource, socket, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for _ in range(count):
    peer = socket.socket()
    peer.settimeout(10)
    try:
        peer.connect((host, port))
        peer.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    except TimeoutError:
        break
    except OSError:
        continue
    held.append(peer)
print(len(held), flush=True)
sys.stdin.read()
";

/// Another user's connections, which are refused and held open all the same.
#[tokio::test]
async fn refused_peers() {
    const PEERS: usize = 5000;
    const PLACES: usize = 4096;
    long_only!();
    skip_unless!(root());
    let trial = Trial::start(&[]).await;
    let address = trial.server.daemon.socket("grpc");
    let endpoint = trial.server.daemon.endpoint();
    let bounds = Bounds {
        peak: 160,
        after: 48,
    };
    let attack = async {
        let mut holder = Command::new("python3")
            .args([
                "-c",
                HOLDER,
                &address.ip().to_string(),
                &address.port().to_string(),
            ])
            .arg(PEERS.to_string())
            .uid(OTHER_USER)
            .gid(OTHER_USER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("its stdout");
        let ready = BufReader::new(stdout).read_line(&mut line).await;
        let held: usize = ready
            .ok()
            .and_then(|_| line.trim().parse().ok())
            .expect("a number");
        eprintln!("{held} refused peers are held");
        // More than the server has places for connections.
        assert!(held > PLACES, "only {held} are held");
        // Who comes now is let in all the same, each on a connection of its own.
        for _ in 0..10 {
            let client = soon("a connection", Client::connect(&endpoint)).await;
            honest_call(&client.expect("a connection")).await;
        }
    };
    Box::pin(trial.attack("5,000 refused peers", bounds, attack))
        .await
        .stop()
        .await;
}

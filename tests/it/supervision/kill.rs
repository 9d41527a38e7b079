//! Killed means gone: the whole tree, whatever its processes did to leave it.

use std::{fs, os::unix::fs::PermissionsExt};

use remex::v1::{StartRequest, exit::Reason};
use rustix::process::{Pid, Signal, kill_process};

use super::support::{Random, RequestExt, Running, Server, argv, count};
use crate::harness::{Marker, eventually, soon};

/// Fifty processes: children, some in sessions of their own, some without a parent, and one that forks in a loop, each
/// of its processes leaving at once for the next. `$0` is the folder with the scripts, `$1` the marker.
const TREE: &str = r#"#!/bin/sh
trap '' HUP
for i in 1 2 3 4 5 6 7 8 9 10; do
    sleep "$1" &
    setsid sleep "$1" &
    (sleep "$1" &)
    (setsid sleep "$1" &)
    sh -c 'trap "" TERM INT HUP; sleep "$0"; sleep "$0"' "$1" &
done
"${0%/*}/hop" "$1" &
echo ready
wait
"#;

/// Runs itself again and leaves.
const HOP: &str = "#!/bin/sh\n\"$0\" \"$1\" &\n";

/// The fifty, their shells, and whoever hops.
const PROCESSES: usize = 50;

/// Writes the scripts, and says how to run them.
fn tree(server: &Server, marker: &Marker) -> StartRequest {
    for (name, text) in [("tree", TREE), ("hop", HOP)] {
        let path = server.daemon.home().path(name);
        if !path.exists() {
            // By rename: a file that is open for writing cannot be executed.
            let draft = server.daemon.home().path("draft");
            fs::write(&draft, text).unwrap();
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(draft, path).unwrap();
        }
    }
    let tree = server.daemon.home().path("tree");
    argv([tree.to_str().unwrap(), &marker.to_string()])
}

/// One execution that nobody may touch.
struct Bystander {
    running: Running,
    marker: Marker,
}

impl Bystander {
    async fn start(server: &Server) -> Self {
        let marker = Marker::new();
        let text = format!("setsid sleep {marker} & sleep {marker} & echo ready; wait");
        let mut running = server.begin(super::support::shell(text)).await;
        running.until("ready").await;
        Self { running, marker }
    }

    /// Asserts that it is as it was, and ends it.
    async fn assert_untouched(self) {
        assert!(self.marker.processes().len() >= 3);
        self.running.signal(9).await.unwrap();
        let record = self.running.end().await;
        assert_eq!(record.ending(), (-1, 9, Reason::Signal));
        self.marker.is_gone().await;
    }
}

/// Waits until so much of the tree is there, or all of it: a kill has to catch it as it grows, too.
async fn grown(marker: &Marker, random: &mut Random) {
    let processes = match random.below(2) {
        0 => PROCESSES,
        _ => 1 + random.below(PROCESSES),
    };
    eventually("the tree", || {
        (marker.processes().len() >= processes).then_some(())
    })
    .await;
}

/// When the exit is reported, nothing of the tree lives.
#[track_caller]
fn assert_gone(marker: &Marker) {
    let left = marker.processes();
    assert!(left.is_empty(), "{left:?}");
}

async fn timeout(server: Server) {
    let mut random = Random::new();
    let bystander = Bystander::start(&server).await;
    for _ in 0..count(2, 125) {
        let marker = Marker::new();
        let millis = 1 + random.below(1000) as u64;
        let request = tree(&server, &marker).timeout(millis).kill_after(100);
        let record = server.run(request).await;
        assert_gone(&marker);
        assert_eq!(record.exit().reason(), Reason::Timeout);
    }
    bystander.assert_untouched().await;
    server.daemon.stop().await;
}

async fn signal_kill(server: Server) {
    let mut random = Random::new();
    let bystander = Bystander::start(&server).await;
    for _ in 0..count(2, 125) {
        let marker = Marker::new();
        let running = server.begin(tree(&server, &marker)).await;
        grown(&marker, &mut random).await;
        running.signal(9).await.unwrap();
        let record = running.end().await;
        assert_gone(&marker);
        assert_eq!(record.ending(), (-1, 9, Reason::Signal));
    }
    bystander.assert_untouched().await;
    server.daemon.stop().await;
}

async fn cancelled_call(server: Server) {
    let mut random = Random::new();
    let bystander = Bystander::start(&server).await;
    for _ in 0..count(2, 125) {
        let marker = Marker::new();
        let request = tree(&server, &marker).kill_after(100);
        let running = server.begin(request).await;
        grown(&marker, &mut random).await;
        drop(running);
        marker.is_gone().await;
    }
    bystander.assert_untouched().await;
    server.daemon.stop().await;
}

async fn killed_client(server: Server) {
    let mut random = Random::new();
    let bystander = Bystander::start(&server).await;
    for _ in 0..count(1, 125) {
        let marker = Marker::new();
        let request = tree(&server, &marker);
        let command = request.command.unwrap();
        let words: Vec<_> = ["run", "--"]
            .into_iter()
            .chain(command.argv.iter().map(String::as_str))
            .collect();
        let mut client = server.remex(&words).spawn().unwrap();
        grown(&marker, &mut random).await;
        let pid = Pid::from_raw(client.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        soon("its end", client.wait()).await.unwrap();
        marker.is_gone().await;
    }
    bystander.assert_untouched().await;
    server.daemon.stop().await;
}

/// TERM reaches all of the tree, and who minds it has time.
async fn shutdown(server: Server) {
    let mut random = Random::new();
    let marker = Marker::new();
    let running = server.begin(tree(&server, &marker).kill_after(100)).await;
    grown(&marker, &mut random).await;
    server.daemon.signal(Signal::TERM);
    let record = running.end().await;
    assert_gone(&marker);
    assert_eq!(record.exit().reason(), Reason::Shutdown);
    let Server { mut daemon, .. } = server;
    assert!(daemon.wait().await.success());
}

with_each_containment! {
    pitfall_05_nothing_survives_a_timeout => timeout;
    pitfall_05_nothing_survives_a_kill => signal_kill;
    pitfall_05_nothing_survives_a_cancelled_call => cancelled_call;
    pitfall_05_nothing_survives_a_killed_client => killed_client;
}

#[tokio::test]
async fn nothing_survives_a_shutdown_by_default() {
    shutdown(Server::start(&["--drain-timeout", "100ms"]).await).await;
}

#[tokio::test]
async fn nothing_survives_a_shutdown_by_sweep() {
    shutdown(Server::start(&["--drain-timeout", "100ms", "--containment", "sweep"]).await).await;
}

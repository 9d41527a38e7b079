//! What a remexd that was killed has left, the next one kills before it serves; another daemon's never.

use std::{fs, path::Path};

use remex::v1::exit::Reason;
use rustix::process::Signal;

use super::support::{Server, count, shell};
use crate::harness::Marker;

/// Some in its session, one in another, one without a parent.
fn tree(marker: &Marker) -> String {
    format!("setsid sleep {marker} & (setsid sleep {marker} &); sleep {marker} & echo ready; wait")
}

async fn restart(flags: &[&str], then: &[&str]) {
    for _ in 0..count(1, 50) {
        let other = Server::start(flags).await;
        let others = Marker::new();
        let mut untouched = other.begin(shell(tree(&others))).await;
        untouched.until("ready").await;

        let mut server = Server::start(flags).await;
        let (marker, lingers) = (Marker::new(), Marker::new());
        let ended = server
            .run(shell(format!("setsid sleep {lingers} >/dev/null 2>&1 &")))
            .await;
        assert_eq!(ended.ending(), (0, 0, Reason::Self_));
        let mut running = server.begin(shell(tree(&marker))).await;
        running.until("ready").await;
        server.daemon.signal(Signal::KILL);
        server.daemon.wait().await;
        assert!(
            !marker.processes().is_empty(),
            "nothing was left to be killed"
        );

        let home = server.daemon.home().clone();
        // Where its cgroups are; by sweep a word.
        let cgroups = fs::read_to_string(home.path("state/containment")).unwrap();
        let next = Server::start_in(&home, then).await;
        // It serves, so there is nothing left already.
        let left = marker.processes();
        assert!(left.is_empty(), "{left:?}");
        assert!(
            !lingers.processes().is_empty(),
            "what was to live on was killed"
        );
        home.logged(&["killed what a crash"]).await;
        let record = next.run(shell("echo it works")).await;
        assert_eq!(record.text(), "it works\n");
        lingers.kill();
        lingers.is_gone().await;
        next.daemon.stop().await;
        let is_kept = cgroups.starts_with('/') && then == SWEEP;
        assert!(
            is_kept || !Path::new(&cgroups).exists(),
            "{cgroups} is left"
        );

        assert!(others.processes().len() >= 4, "another daemon's was killed");
        untouched.signal(9).await.unwrap();
        assert_eq!(untouched.end().await.ending(), (-1, 9, Reason::Signal));
        other.daemon.stop().await;
    }
}

const DEFAULT: &[&str] = &[];
const SWEEP: &[&str] = &["--containment", "sweep"];

#[tokio::test]
async fn leftovers_of_a_crash_are_killed_by_default() {
    restart(DEFAULT, DEFAULT).await;
}

#[tokio::test]
async fn leftovers_of_a_crash_are_killed_by_sweep() {
    restart(SWEEP, SWEEP).await;
}

#[tokio::test]
async fn leftovers_of_a_crash_are_killed_whichever_way_the_next_one_takes() {
    restart(DEFAULT, SWEEP).await;
    restart(SWEEP, DEFAULT).await;
}

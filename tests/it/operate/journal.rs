//! What the journal of systemd gets of a daemon whose stderr it is: the test's own socket, where the journal's is.

use std::{fs::File, os::unix::fs::MetadataExt, path::Path};

use remex_client::Command;
use tokio::net::UnixDatagram;

use crate::harness::{Daemon, Home, eventually, soon, tools::root};

/// Puts the socket $0 where the journal's is, in a mount namespace, and becomes the daemon.
const SCRIPT: &str = r#"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal &&
    : >/run/systemd/journal/socket && mount --bind "$0" /run/systemd/journal/socket && exec "$@""#;

/// remexd whose log is `journal`, in a home of its own.
async fn start(home: &Home, socket: &Path, flags: &[&str]) -> Daemon {
    let log = File::create(home.path("log")).expect("a log file");
    let stream = log.metadata().expect("its inode");
    let socket = socket.to_str().expect("UTF-8");
    let wrapper = ["unshare", "--mount", "sh", "-c", SCRIPT, socket];
    let mut command = home.remexd_under(&wrapper, flags);
    command.env(
        "JOURNAL_STREAM",
        format!("{}:{}", stream.dev(), stream.ino()),
    );
    Daemon::spawn(home, command).await
}

/// The next entry that has a field of this name, as its lines.
async fn entry_with(journal: &UnixDatagram, name: &str) -> Vec<String> {
    soon("an entry", async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let bytes = journal.recv(&mut buffer).await.expect("an entry");
            let text = String::from_utf8_lossy(&buffer[..bytes]).into_owned();
            if text.lines().any(|line| line.starts_with(name)) {
                return text.lines().map(str::to_owned).collect();
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_journal_gets_each_field_by_its_name() {
    skip_unless!(root());
    let home = Home::new();
    let socket = home.path("journal.sock");
    let journal = UnixDatagram::bind(&socket).expect("a socket");
    let daemon = start(&home, &socket, &[]).await;
    let client = daemon.client().await;
    let outcome = soon("a run", client.run(Command::shell("exit 7")))
        .await
        .expect("it runs");
    let entry = entry_with(&journal, "REMEX_EXIT=").await;
    let has = |line: &str| entry.iter().any(|one| one == line);
    let id = format!("REMEX_ID={}", outcome.execution_id);
    for line in [
        "PRIORITY=6",
        "SYSLOG_IDENTIFIER=remexd",
        "REMEX_EXIT=7",
        &id,
    ] {
        assert!(has(line), "no {line} in {entry:?}");
    }
    assert!(
        entry[0].starts_with("MESSAGE=") && entry[0].contains("exit=7"),
        "{entry:?}"
    );
    assert_eq!(home.log(), "");
    // A journal that is gone loses nothing: its stream gets the text.
    drop(journal);
    soon("a run", client.run(Command::shell("exit 8")))
        .await
        .expect("it runs");
    eventually("the text", || home.log().contains("exit=8").then_some(())).await;
    assert!(!home.log().contains("PRIORITY"), "{}", home.log());
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_49_a_journal_that_takes_nothing_stops_neither_serving_nor_exiting() {
    skip_unless!(root());
    let home = Home::new();
    let socket = home.path("journal.sock");
    let journal = UnixDatagram::bind(&socket).expect("a socket");
    let daemon = start(&home, &socket, &["--log-level", "trace"]).await;
    let client = daemon.client().await;
    // More entries than any queue of datagrams has room for.
    for _ in 0..100 {
        let outcome = soon("a run", client.run(Command::new("true"))).await;
        assert_eq!(outcome.expect("it runs").exit.status_code(), 0);
    }
    daemon.stop().await;
    drop(journal);
}

#[tokio::test]
async fn what_is_asked_for_as_json_stays_json_on_stderr() {
    skip_unless!(root());
    let home = Home::new();
    let socket = home.path("journal.sock");
    let journal = UnixDatagram::bind(&socket).expect("a socket");
    let daemon = start(&home, &socket, &["--log-format", "json"]).await;
    let client = daemon.client().await;
    soon("a run", client.run(Command::shell("exit 7")))
        .await
        .expect("it runs");
    eventually("its line", || {
        home.log().contains("\"exit\":").then_some(())
    })
    .await;
    assert!(
        journal.try_recv(&mut [0; 1]).is_err(),
        "the journal got an entry"
    );
    daemon.stop().await;
}

//! What signals mean: PITFALLS 62, and what a second one does.

use std::time::{Duration, Instant};

use remex::{
    error::Reason,
    v1::{Command, RunRequest, StartRequest},
};
use remex_client::Client;
use rustix::process::Signal;
use tonic::Code;

use crate::harness::{Daemon, Home, Marker, eventually, soon, terminal::terminal, tools::program};

/// A second, and some for a busy machine; far less than any drain here.
const AT_ONCE: Duration = Duration::from_secs(5);

async fn runs(client: &Client) {
    let request = RunRequest {
        command: Some(Command {
            argv: vec!["true".to_owned()],
            ..Command::default()
        }),
        ..RunRequest::default()
    };
    let ran = soon("a run", client.exec().run(request)).await;
    assert_eq!(ran.unwrap().get_ref().exit.as_ref().unwrap().code, Some(0));
}

/// Returns when new commands are refused; each that is not yet refused runs.
pub(crate) async fn is_draining(client: &Client) {
    soon("the drain", async {
        loop {
            let request = RunRequest {
                command: Some(Command {
                    shell: "true".to_owned(),
                    ..Command::default()
                }),
                ..RunRequest::default()
            };
            if let Err(status) = client.exec().run(request).await {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                assert_eq!(Reason::of(&status), Some(Reason::Draining), "{status}");
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn pitfall_62_quit_drains_as_term_does() {
    let mut daemon = Daemon::start(&[]).await;
    daemon.signal(Signal::QUIT);
    assert_eq!(daemon.wait().await.code(), Some(0));
}

#[tokio::test]
async fn pitfall_62_hup_reloads_where_there_is_no_terminal() {
    skip_unless!(program("setsid"));
    let home = Home::new();
    let daemon = Daemon::spawn(&home, home.service(&[])).await;
    let client = daemon.client().await;
    daemon.signal(Signal::HUP);
    eventually("the line", || home.log().contains("SIGHUP").then_some(())).await;
    runs(&client).await;
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_62_hup_drains_where_there_is_a_terminal() {
    skip_unless!(program("setsid"));
    let (_master, slave) = terminal(24, 80);
    let home = Home::new();
    let wrapper = ["env", "--default-signal=HUP", "setsid", "--ctty"];
    let mut command = home.remexd_under(&wrapper, &[]);
    command.stdin(slave);
    let mut daemon = Daemon::spawn(&home, command).await;
    runs(&daemon.client().await).await;
    daemon.signal(Signal::HUP);
    assert_eq!(daemon.wait().await.code(), Some(0));
    assert!(home.log().contains("SIGHUP: draining"), "{}", home.log());
}

#[tokio::test]
async fn pitfall_62_hup_that_is_ignored_at_start_stays_ignored() {
    let home = Home::new();
    let wrapper = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &[])).await;
    let client = daemon.client().await;
    daemon.signal(Signal::HUP);
    runs(&client).await;
    daemon.signal(Signal::HUP);
    runs(&client).await;
    assert!(!home.log().contains("SIGHUP"), "{}", home.log());
    daemon.stop().await;
}

/// Of any of the signals, a second one is the end of everything, also of what ignores TERM.
#[tokio::test]
async fn a_second_signal_kills_what_ignores_term() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131)] {
        let mut daemon = Daemon::start(&["--drain-timeout", "10m"]).await;
        let marker = Marker::new();
        let client = daemon.client().await;
        let request = StartRequest {
            command: Some(Command {
                shell: format!("trap '' TERM; echo ready; while :; do sleep {marker}; done"),
                kill_after: Some(prost_types::Duration {
                    seconds: 60,
                    nanos: 0,
                }),
                ..Command::default()
            }),
            ..StartRequest::default()
        };
        let mut events = client.exec().start(request).await.unwrap().into_inner();
        for _ in 0..2 {
            soon("its events", events.message()).await.unwrap();
        }
        daemon.signal(Signal::TERM);
        is_draining(&client).await;
        let sent = Instant::now();
        daemon.signal(second);
        assert_eq!(daemon.wait().await.code(), Some(code));
        assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
        marker.is_gone().await;
    }
}

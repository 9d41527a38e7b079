//! Calls whose `:authority` HTTP/2 refuses before remexd sees them: its log says what a client does about it, once.

use std::path::Path;

use tokio::process::Command;

use crate::harness::{Daemon, Home, eventually, examples::example, http2::Frames, soon};

/// What grpcio, and what grpcurl makes of a socket's path.
const DERIVED: [&str; 2] = ["run%2Fremex%2Fremexd.sock", "/run/remex/remexd.sock"];
const INFO: &str = "/remex.v1.ExecService/GetServerInfo";
const HINT: &str = "grpc.default_authority";

/// The one line with the hint.
async fn hint(daemon: &Daemon) -> String {
    let home = daemon.home();
    let line = || {
        let log = home.log();
        let mut lines = log.lines().filter(|line| line.contains(HINT));
        let line = lines.next()?.to_owned();
        assert_eq!(lines.next(), None, "once is enough");
        Some(line)
    };
    eventually("the hint", line).await
}

#[tokio::test]
async fn a_refused_authority_is_hinted_at_once_and_ends_its_call_alone() {
    let daemon = Daemon::start(&[]).await;
    let mut frames = Frames::connect(&daemon).await;
    for _ in 0..20 {
        for authority in DERIVED {
            let call = frames.headers_to(authority, INFO, true);
            frames.flush().await;
            assert!(frames.has_reset_of(call).await, "{authority}");
        }
    }
    let line = hint(&daemon).await;
    assert!(line.contains(" WARN "), "{line}");
    assert!(line.contains(DERIVED[0]), "{line}");
    // The connection serves on.
    let call = frames.headers(INFO, true);
    frames.flush().await;
    assert!(frames.has_headers_of(call).await);
    hint(&daemon).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_authority_in_the_log_cannot_act_on_a_terminal() {
    let daemon = Daemon::start(&[]).await;
    let mut frames = Frames::connect(&daemon).await;
    let call = frames.headers_to("a\u{1b}[2J/aaaa", INFO, true);
    frames.flush().await;
    assert!(frames.has_reset_of(call).await);
    let line = hint(&daemon).await;
    assert!(!line.contains('\u{1b}'), "{line:?}");
    daemon.stop().await;
}

#[tokio::test]
async fn python_without_an_authority_is_told_of_in_the_log() {
    let python = skip_unless!(example("python"));
    let home = Home::new();
    let socket = home.path("remexd.sock");
    let listen = format!("unix:{}", socket.display());
    let daemon = Daemon::start_in(&home, &["--listen", &listen]).await;
    let calls = Command::new(python.join(".venv/bin/python"))
        .env("PYTHONPATH", python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/authority.py"))
        .arg(&socket)
        .output();
    let output = soon("python", calls).await.expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "INTERNAL\nINTERNAL\nINTERNAL\nOK\n", "{output:?}");
    let line = hint(&daemon).await;
    assert!(line.contains("remexd.sock"), "{line}");
    daemon.stop().await;
}

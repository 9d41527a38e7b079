//! What a command starts with, and what is said of one that cannot start.

use remex::{
    error::Reason as Refusal,
    v1::{self, exit::Reason},
};

use super::support::{RequestExt, Server, argv, count, shell};
use crate::harness::soon;

#[tokio::test]
async fn pitfall_06_an_ended_execution_takes_no_signal() {
    let server = Server::start(&[]).await;
    let mut running = server.begin(argv(["true"])).await;
    while running.next().await.is_some() {}
    for signal in [1, 9, 15, 19, 64] {
        let refused = running.signal(signal).await.unwrap_err();
        assert_eq!(Refusal::of(&refused), Some(Refusal::ExecutionEnded));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_07_a_fast_exit_comes_behind_the_start() {
    let server = Server::start(&[]).await;
    // That started comes first and exited last is checked of every record.
    for _ in 0..count(100, 2000) {
        let record = server.run(argv(["true"])).await;
        assert_eq!(record.ending(), (0, 0, Reason::Self_));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_07_what_cannot_start_is_a_typed_error_and_127_or_126_in_a_shell() {
    let server = Server::start(&[]).await;
    let folder = server.daemon.home().path("");
    let folder = folder.to_str().unwrap();
    for (program, reason, code) in [
        ("no-such-program", Refusal::ProgramNotFound, 127),
        ("/no/such/program", Refusal::ProgramNotFound, 127),
        (folder, Refusal::ProgramNotExecutable, 126),
        ("/etc/passwd", Refusal::ProgramNotExecutable, 126),
    ] {
        let status = server.refusal(argv([program])).await;
        assert_eq!(Refusal::of(&status), Some(reason), "{program}: {status:?}");
        assert!(status.message().contains(program), "{}", status.message());
        let run = server.remex(&["run", "--", program]).output();
        let output = soon("remex run", run).await.unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let lost = argv(["true"]).with(|command| command.working_directory = "/no/such".into());
    let status = server.refusal(lost).await;
    assert_eq!(
        Refusal::of(&status),
        Some(Refusal::WorkingDirectoryNotFound)
    );
    let stranger = argv(["true"]).with(|command| command.user = "no-such-user".into());
    let status = server.refusal(stranger).await;
    assert_eq!(Refusal::of(&status), Some(Refusal::UserNotFound));
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_08_an_idle_open_stdin_does_not_keep_a_finished_command() {
    let server = Server::start(&[]).await;
    for request in [argv(["true"]), argv(["true"]).on_terminal()] {
        let open = v1::StartRequest {
            stdin_open: true,
            ..request
        };
        assert_eq!(server.run(open).await.ending(), (0, 0, Reason::Self_));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_08_without_stdin_there_is_dev_null() {
    let server = Server::start(&[]).await;
    let record = server.run(argv(["readlink", "/proc/self/fd/0"])).await;
    assert_eq!(record.text(), "/dev/null\n");
    let record = server.run(argv(["cat"])).await;
    assert_eq!(record.ending(), (0, 0, Reason::Self_));
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_11_children_inherit_three_descriptors() {
    let server = Server::start(&[]).await;
    // While another runs on a terminal, whose master is nobody else's.
    let idle = server.begin(argv(["sleep", "1000"]).on_terminal()).await;
    for request in [
        argv(["ls", "/proc/self/fd"]),
        argv(["ls", "/proc/self/fd"]).on_terminal(),
    ] {
        let record = server.run(request).await;
        // The fourth is that of the folder that ls reads.
        let fds: Vec<_> = record
            .text()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(fds, ["0", "1", "2", "3"]);
    }
    idle.signal(9).await.unwrap();
    idle.end().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_command_has_default_signals_its_own_session_and_no_secrets() {
    let server = Server::start(&["--pass-env", "CARGO_MANIFEST_DIR"]).await;
    let record = server.run(argv(["cat", "/proc/self/status"])).await;
    for mask in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let text = record.text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(mask))
            .unwrap();
        assert_eq!(line.trim(), "0000000000000000", "{mask}");
    }
    let running = server
        .begin(shell("cut -d' ' -f5,6 /proc/$$/stat; umask"))
        .await;
    let pid = running.pid;
    assert_eq!(running.end().await.text(), format!("{pid} {pid}\n0022\n"));
    let record = server.run(argv(["env"])).await;
    let text = record.text();
    assert!(text.contains("PATH=") && text.contains("CARGO_MANIFEST_DIR="));
    // Among others what cargo gives a test, and so this daemon.
    assert!(
        !text.contains("XDG_STATE_HOME") && !text.contains("CARGO_PKG"),
        "{text}"
    );
    let cleared = argv(["/usr/bin/env"]).with(|command| {
        command.clear_environment = true;
        command.environment.insert("A".into(), "1".into());
    });
    assert_eq!(server.run(cleared).await.text(), "A=1\n");
    server.daemon.stop().await;
}

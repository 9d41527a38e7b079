//! How a command ended arrives as it was: through gRPC, and as an exit code of the command line.

use std::os::unix::process::ExitStatusExt;

use futures_util::future::join_all;
use remex::v1::{self, RunRequest, exit::Reason};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

use super::support::{RequestExt, Server, argv, ending, shell};
use crate::harness::{Daemon, Home, soon};

const CODES: [i32; 8] = [0, 1, 4, 5, 44, 126, 127, 255];

/// The last one is a real-time signal.
const SIGNALS: [i32; 8] = [1, 2, 6, 9, 11, 13, 15, 37];

/// Their names in the header of the old protocol.
const NAMES: [&str; 8] = [
    "SIGHUP",
    "SIGINT",
    "SIGABRT",
    "SIGKILL",
    "SIGSEGV",
    "SIGPIPE",
    "SIGTERM",
    "SIGRTMIN+3",
];

async fn run(server: &Server, text: &str) -> (i32, i32, Reason) {
    let request = RunRequest {
        command: shell(text).command,
        ..RunRequest::default()
    };
    let response = soon("a run", server.exec().run(request)).await.unwrap();
    ending(&response.into_inner().exit.unwrap())
}

async fn remex_run(server: &Server, text: &str) -> Option<i32> {
    let output = server.remex(&["run", "--shell", text]).output();
    soon("remex run", output).await.unwrap().status.code()
}

#[tokio::test]
async fn pitfall_12_exit_codes_arrive_as_they_are() {
    let server = Server::start(&[]).await;
    for code in CODES {
        let text = format!("exit {code}");
        let expected = (code, 0, Reason::Self_);
        assert_eq!(server.run(shell(&text)).await.ending(), expected);
        assert_eq!(
            server.run(shell(&text).on_terminal()).await.ending(),
            expected
        );
        assert_eq!(run(&server, &text).await, expected);
        assert_eq!(remex_run(&server, &text).await, Some(code));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_12_and_38_signals_are_no_exit_codes_and_a_killed_command_is_no_success() {
    let server = Server::start(&[]).await;
    for signal in SIGNALS {
        let text = format!("kill -{signal} $$; sleep 1000");
        let expected = (-1, signal, Reason::Self_);
        assert_eq!(server.run(shell(&text)).await.ending(), expected);
        assert_eq!(
            server.run(shell(&text).on_terminal()).await.ending(),
            expected
        );
        assert_eq!(run(&server, &text).await, expected);
        assert_eq!(remex_run(&server, &text).await, Some(128 + signal));
        // One that a caller sends is the reason, too.
        let running = server.begin(argv(["sleep", "1000"])).await;
        running.signal(signal).await.unwrap();
        assert_eq!(running.end().await.ending(), (-1, signal, Reason::Signal));
    }
    // A shell that says 143 has not been killed.
    let expected = (143, 0, Reason::Self_);
    assert_eq!(server.run(shell("exit 143")).await.ending(), expected);
    server.daemon.stop().await;
}

/// The header of the old protocol's answer to `text`: `exit_code` and `signal`.
async fn header(server: &Server, text: &str) -> (serde_json::Value, serde_json::Value) {
    let address = server.daemon.socket("tcp-exec");
    let call = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let size = stream.read_u32_le().await.unwrap();
        let mut header = vec![0; usize::try_from(size).unwrap()];
        stream.read_exact(&mut header).await.unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()
    };
    let mut header = soon("a header", call).await;
    (header["exit_code"].take(), header["signal"].take())
}

#[tokio::test]
async fn pitfall_12_and_38_codes_and_signals_stand_apart_in_the_old_protocols_header() {
    let server = Server::start(&["--legacy", "tcp://127.0.0.1:0/exec"]).await;
    for code in CODES {
        let expected = (json!(code), json!(null));
        assert_eq!(header(&server, &format!("exit {code}")).await, expected);
    }
    for (signal, name) in SIGNALS.into_iter().zip(NAMES) {
        let text = format!("kill -{signal} $$; sleep 1000");
        assert_eq!(header(&server, &text).await, (json!(null), json!(name)));
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_38_a_timeout_is_no_success_either() {
    let server = Server::start(&[]).await;
    let record = server.run(argv(["sleep", "1000"]).timeout(100)).await;
    assert_eq!(record.ending(), (-1, 15, Reason::Timeout));
    let run = server.remex(&["run", "--timeout", "100ms", "--", "sleep", "1000"]);
    let output = soon("remex run", { run }.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(124));
    // Nor where the command makes light of it.
    let text = "trap 'exit 0' TERM; while :; do sleep 0.01; done";
    let record = server.run(shell(text).timeout(200)).await;
    assert_eq!(record.ending(), (0, 0, Reason::Timeout));
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_core_dump_is_told() {
    let server = Server::start(&[]).await;
    let limits = |core_bytes| v1::Limits {
        core_bytes: Some(core_bytes),
        ..v1::Limits::default()
    };
    // Into the daemon's folder, which goes with the test. What the machine does with cores, a local shell tells.
    let dump = "kill -SEGV $$";
    let local = Command::new("sh")
        .args(["-c", &format!("ulimit -c unlimited; {dump}")])
        .current_dir(server.daemon.home().folder())
        .status();
    let dumps = local.await.unwrap().core_dumped();
    for (core_bytes, dumped) in [(64 << 20, dumps), (0, false)] {
        let record = server.run(shell(dump).limits(limits(core_bytes))).await;
        assert_eq!(record.ending(), (-1, 11, Reason::Self_));
        assert_eq!(record.exit().core_dumped, dumped, "{core_bytes}");
    }
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_command_takes_no_less_time_than_it_uses() {
    let server = Server::start(&[]).await;
    // A command of one process may be over before its server has looked at it; all of them at once make sure of that.
    let runs = (0..50).map(|_| server.run(argv(["true"])));
    for record in join_all(runs).await {
        let exit = record.exit();
        let usage = exit.usage.unwrap();
        let cpu = nanos(usage.user_time) + nanos(usage.system_time);
        assert!(nanos(exit.wall_time) >= cpu, "{exit:?}");
    }
    server.daemon.stop().await;
}

fn nanos(time: Option<prost_types::Duration>) -> i128 {
    let time = time.unwrap();
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

#[tokio::test]
async fn what_a_command_used_is_told() {
    // Started by a program that is larger than any command here, which says nothing about the commands.
    let large = "import os, sys; x = b'x' * (700 << 20); os.execv(sys.argv[1], sys.argv[1:])";
    let home = Home::new();
    let remexd = home.remexd_under(&["python3", "-c", large], &[]);
    let daemon = Daemon::spawn(&home, remexd).await;
    let client = daemon.client().await;
    let server = Server { daemon, client };
    let text = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; sleep 0.1";
    let record = server.run(shell(text)).await;
    let exit = record.exit();
    let usage = exit.usage.unwrap();
    let cpu = nanos(usage.user_time) + nanos(usage.system_time);
    assert!(cpu > 10_000_000, "{exit:?}");
    assert!(nanos(exit.wall_time) >= 100_000_000, "{exit:?}");
    // More than remexd itself, so it can be told.
    let megabytes = 300;
    let text = format!("import sys; x = b'x' * ({megabytes} << 20); sys.exit(len(x) == 0)");
    let record = server.run(argv(["python3", "-c", &text])).await;
    assert_eq!(record.ending(), (0, 0, Reason::Self_), "{record:?}");
    let peak = record.exit().usage.unwrap().max_rss_bytes.unwrap();
    assert!((megabytes << 20..megabytes << 21).contains(&peak), "{peak}");
    server.daemon.stop().await;
}

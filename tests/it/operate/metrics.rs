//! What is counted, and that whoever scrapes holds nobody up.

use std::time::Duration;

use remex::v1::{Command, RunRequest, StartRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::scraper::{Scrape, get, socket, until};
use crate::{
    gateway::support::{Gateway, Legacy},
    harness::{Daemon, Home, Marker, soon},
};

const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

fn shell(text: &str) -> Command {
    Command {
        shell: text.to_owned(),
        ..Command::default()
    }
}

async fn run(daemon: &Daemon, request: RunRequest) -> Result<(), tonic::Status> {
    let mut exec = daemon.client().await.exec();
    soon("a run", exec.run(request)).await.map(drop)
}

#[tokio::test]
async fn executions_are_counted_by_outcome_and_their_bytes_by_stream() {
    let daemon = Daemon::start(&METRICS).await;
    let url = daemon.url("metrics");
    for (text, timeout) in [
        ("cat; echo err >&2", None),
        ("exit 3", None),
        ("kill -9 $$", None),
        ("sleep 1000", Some(Duration::from_millis(50))),
    ] {
        let mut command = shell(text);
        command.timeout = timeout.map(|timeout| timeout.try_into().unwrap());
        let request = RunRequest {
            command: Some(command),
            stdin_text: if text.starts_with("cat") {
                "12345".into()
            } else {
                String::new()
            },
            ..RunRequest::default()
        };
        run(&daemon, request).await.unwrap();
    }
    let ended = |outcome: &str| format!("remex_executions_ended_total{{outcome=\"{outcome}\"}}");
    let all = ["success", "failure", "signal", "timeout"];
    let scrape = until(url, "the count of four ends", |scrape| {
        all.iter().all(|outcome| scrape.count(&ended(outcome)) > 0)
    })
    .await;
    for outcome in all {
        assert_eq!(scrape.count(&ended(outcome)), 1, "{outcome}");
    }
    for outcome in ["disconnect", "shutdown", "lost"] {
        assert_eq!(scrape.count(&ended(outcome)), 0, "{outcome}");
    }
    let bytes = |stream| scrape.count(&format!("remex_stream_bytes_total{{stream=\"{stream}\"}}"));
    assert_eq!(
        (bytes("stdin"), bytes("stdout"), bytes("stderr")),
        (5, 5, 4)
    );
    for durations in ["remex_spawn_seconds", "remex_drain_seconds"] {
        assert_eq!(scrape.count(&format!("{durations}_count")), 4);
        assert_eq!(
            scrape.count(&format!("{durations}_bucket{{le=\"+Inf\"}}")),
            4
        );
    }
    assert!(scrape.seconds("remex_spawn_seconds_sum") > 0.0);
    assert_eq!(scrape.count("remex_executions_running"), 0);
    assert_eq!(scrape.count("remex_executions_limit"), 2000);
    let version = format!("remex_build_info{{version=\"{}\"}}", remex::VERSION);
    assert_eq!(scrape.count(&version), 1);
    daemon.stop().await;
}

#[tokio::test]
async fn what_runs_and_what_a_reader_holds_up_is_told() {
    let daemon = Daemon::start(&METRICS).await;
    let url = daemon.url("metrics");
    let mut exec = daemon.client().await.exec();
    let request = StartRequest {
        command: Some(shell("exec yes")),
        ..StartRequest::default()
    };
    // Nobody reads it.
    let events = soon("a start", exec.start(request)).await.unwrap();
    let scrape = until(url, "a command that is held up", |scrape| {
        scrape.count("remex_executions_blocked") > 0
    })
    .await;
    assert_eq!(scrape.count("remex_executions_running"), 1);
    drop(events);
    let scrape = until(url, "its end", |scrape| {
        scrape.count("remex_executions_ended_total{outcome=\"disconnect\"}") > 0
    })
    .await;
    assert_eq!(scrape.count("remex_executions_blocked"), 0);
    assert!(scrape.seconds("remex_executions_blocked_seconds_total") > 0.0);
    daemon.stop().await;
}

#[tokio::test]
async fn refusals_are_counted_by_reason_whatever_the_shape_of_the_call() {
    let daemon = Daemon::start(&METRICS).await;
    let url = daemon.url("metrics");
    let argv = |program: &str| {
        Some(Command {
            argv: vec![program.to_owned()],
            ..Command::default()
        })
    };
    for command in [argv("/nowhere"), None] {
        let request = RunRequest {
            command: command.clone(),
            ..RunRequest::default()
        };
        run(&daemon, request).await.unwrap_err();
        let request = StartRequest {
            command,
            ..StartRequest::default()
        };
        let mut exec = daemon.client().await.exec();
        soon("a refusal", exec.start(request)).await.unwrap_err();
    }
    let scrape = Scrape::of(url).await;
    let refused = |reason| scrape.count(&format!("remex_refusals_total{{reason=\"{reason}\"}}"));
    assert_eq!(refused("PROGRAM_NOT_FOUND"), 2);
    assert_eq!(refused("INVALID_COMMAND"), 2);
    assert_eq!(refused("DRAINING"), 0);
    daemon.stop().await;
}

#[tokio::test]
async fn each_legacy_listener_has_counts_of_its_own_in_either_daemon() {
    let (one, other) = ("tcp://127.0.0.1:0/exec", "tcp://127.0.0.1:0/echo");
    let flags = ["--legacy", one, "--legacy", other, METRICS[0], METRICS[1]];
    let daemon = Daemon::start(&flags).await;
    let home = Home::new();
    let gateway = Gateway::start_with(&home, daemon.url("grpc"), &[one, other], &METRICS).await;
    for (url, exec, echo) in [
        (
            daemon.url("metrics"),
            daemon.socket("tcp-exec"),
            daemon.socket("tcp-echo"),
        ),
        (
            gateway.url("metrics"),
            gateway.socket("tcp-exec"),
            gateway.socket("tcp-echo"),
        ),
    ] {
        let mut client = Legacy::connect(exec).await;
        client.ask("true").await;
        client.ask("true").await;
        client.send("a\0b").await;
        client.rest().await;
        let mut http = Legacy::connect(exec).await;
        http.send("GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(http.rest().await, b"");
        let scrape = Scrape::of(url).await;
        let of = |address, service| format!("listener=\"tcp://{address}\",service=\"{service}\"");
        let requests =
            |labels: &str| scrape.count(&format!("remex_legacy_requests_total{{{labels}}}"));
        assert_eq!(requests(&of(exec, "tcp-exec")), 3);
        assert_eq!(requests(&of(echo, "tcp-echo")), 0);
        let refused = |labels: &str, cause| {
            scrape.count(&format!(
                "remex_legacy_refusals_total{{{labels},cause=\"{cause}\"}}"
            ))
        };
        assert_eq!(refused(&of(exec, "tcp-exec"), "command"), 1);
        assert_eq!(refused(&of(exec, "tcp-exec"), "cross_protocol"), 1);
        assert_eq!(refused(&of(echo, "tcp-echo"), "cross_protocol"), 0);
    }
    daemon.stop().await;
}

/// Whatever callers send becomes no label.
#[tokio::test]
async fn the_number_of_samples_does_not_grow_with_what_is_served() {
    let daemon = Daemon::start(&METRICS).await;
    let url = daemon.url("metrics");
    let before = Scrape::of(url).await.len();
    for number in 0..50 {
        let request = RunRequest {
            command: Some(shell(&format!("echo {number}; exit {number}"))),
            labels: [(format!("key{number}"), "value".to_owned())].into(),
            ..RunRequest::default()
        };
        run(&daemon, request).await.unwrap();
    }
    assert_eq!(Scrape::of(url).await.len(), before);
    daemon.stop().await;
}

#[tokio::test]
async fn scrapers_that_do_not_go_hold_up_nobody_and_are_closed() {
    let daemon = Daemon::start(&METRICS).await;
    let url = daemon.url("metrics");
    let mut held = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(socket(url)).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HT").await.unwrap();
        }
        held.push(stream);
    }
    let request = RunRequest {
        command: Some(shell("true")),
        ..RunRequest::default()
    };
    run(&daemon, request).await.unwrap();
    // Eight are as many as may; this one's turn comes when they have been closed.
    Scrape::of(url).await;
    for mut stream in held {
        let mut rest = Vec::new();
        let _ = soon("its end", stream.read_to_end(&mut rest)).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_request_that_is_too_long_or_none_is_refused() {
    let daemon = Daemon::start(&METRICS).await;
    let url = daemon.url("metrics");
    let (head, _) = get(url, "/").await;
    assert!(head.starts_with("HTTP/1.0 404 "), "{head}");
    let mut stream = TcpStream::connect(socket(url)).await.unwrap();
    let mut answer = Vec::new();
    // It may be closed before all of it is sent.
    let _ = stream
        .write_all(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000)).as_bytes())
        .await;
    let _ = soon("an end", stream.read_to_end(&mut answer)).await;
    assert!(!String::from_utf8_lossy(&answer).contains("remex_"));
    Scrape::of(url).await;
    daemon.stop().await;
}

#[tokio::test]
async fn metrics_are_told_during_a_drain_and_off_loopback_never() {
    let home = Home::new();
    let refused = home.refused(&["--metrics", "0.0.0.0:0"]).await;
    refused.assert(64, &["--metrics", "0.0.0.0:0", "127.0.0.1"]);
    let flags = [METRICS[0], METRICS[1], "--drain-timeout", "1h"];
    let mut daemon = Daemon::start(&flags).await;
    let marker = Marker::new();
    let mut exec = daemon.client().await.exec();
    let request = StartRequest {
        command: Some(shell(&format!("exec sleep {marker}"))),
        ..StartRequest::default()
    };
    let _events = soon("a start", exec.start(request)).await.unwrap();
    let client = daemon.client().await;
    daemon.signal(rustix::process::Signal::TERM);
    crate::signals::is_draining(&client).await;
    let scrape = Scrape::of(daemon.url("metrics")).await;
    assert_eq!(scrape.count("remex_executions_running"), 1);
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait().await;
}

#[tokio::test]
async fn decisions_of_the_policy_are_counted_once_for_each_command() {
    let home = Home::new();
    let file = home.path("policy.toml");
    let rule = "[[rule]]\nname = 'echo'\ndecision = 'allow'\nusers = ['root']\nprograms = ['/bin/echo', '/usr/bin/echo']\narguments = ['x']\n\
                force.isolation = 'off'\n";
    std::fs::write(&file, rule).expect("a policy");
    let flags = [&METRICS[..], &["--policy", file.to_str().expect("UTF-8")]].concat();
    let daemon = Daemon::start_in(&home, &flags).await;
    let url = daemon.url("metrics");
    let count = |scrape: &Scrape, about: &str, decision: &str| {
        scrape.count(&format!(
            "remex_policy_decisions_total{{about=\"{about}\",decision=\"{decision}\"}}"
        ))
    };
    let argv = |words: &[&str]| RunRequest {
        command: Some(Command {
            argv: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Command::default()
        }),
        ..RunRequest::default()
    };
    let before = Scrape::of(url).await;
    assert_eq!(
        count(&before, "command", "allow") + count(&before, "command", "deny"),
        0
    );
    for _ in 0..3 {
        run(&daemon, argv(&["echo", "x"])).await.unwrap();
    }
    for _ in 0..2 {
        run(&daemon, argv(&["true"])).await.unwrap_err();
    }
    let after = Scrape::of(url).await;
    assert_eq!(count(&after, "command", "allow"), 3);
    assert_eq!(count(&after, "command", "deny"), 2);
    daemon.stop().await;
}

#[tokio::test]
async fn what_journals_cost_is_counted() {
    for (sync, syncs) in [("none", false), ("all", true)] {
        let daemon = Daemon::start(&[&METRICS[..], &["--sync", sync]].concat()).await;
        let url = daemon.url("metrics");
        let before = Scrape::of(url).await;
        let (bytes, synced) = (
            "remex_journal_written_bytes_total",
            "remex_journal_syncs_total",
        );
        let command = remex_client::Command::shell("head -c 100000 /dev/zero").request_id("costs");
        let outcome = soon("a run", daemon.client().await.run(command))
            .await
            .unwrap();
        assert_eq!(outcome.exit.status_code(), 0);
        let after = until(url, "the cost of a journal", |scrape| {
            scrape.count(bytes) >= before.count(bytes) + 100_000
        })
        .await;
        assert_eq!(after.count(synced) > before.count(synced), syncs, "{sync}");
        daemon.stop().await;
    }
}

//! `remexd status`, `drain`, `reload` and `log-level`, asked of a remexd that runs.

use std::{fs, path::PathBuf, process::Output};

use remex::v1::{Command, StartRequest};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::{
    harness::{Daemon, Home, Marker, binaries::binary, eventually, soon},
    signals::is_draining,
};

/// A subcommand for the remexd whose state is in `home`.
pub(super) async fn ask(home: &Home, words: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(binary("remexd"));
    command
        .args(words)
        .arg("--state-dir")
        .arg(home.path("state"))
        .kill_on_drop(true);
    soon(words[0], command.output()).await.expect("remexd runs")
}

/// What it printed, if it did what it was asked for.
pub(super) async fn asked(home: &Home, words: &[&str]) -> String {
    let output = ask(home, words).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A command that runs until it is killed.
async fn start(daemon: &Daemon, marker: &Marker) -> tonic::Streaming<remex::v1::StartResponse> {
    let request = StartRequest {
        command: Some(Command {
            shell: format!("exec sleep {marker}"),
            ..Command::default()
        }),
        ..StartRequest::default()
    };
    let mut exec = daemon.client().await.exec();
    let mut events = soon("a start", exec.start(request))
        .await
        .unwrap()
        .into_inner();
    soon("its start", events.message()).await.unwrap();
    events
}

#[tokio::test]
async fn status_says_how_it_is() {
    let daemon = Daemon::start(&["--max-executions", "7"]).await;
    let marker = Marker::new();
    let _events = start(&daemon, &marker).await;
    let json = asked(daemon.home(), &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(status["version"], remex::VERSION);
    assert_eq!(status["pid"], daemon.pid().as_raw_nonzero().get());
    assert_eq!(status["running"], 1);
    assert_eq!(status["max_executions"], 7);
    assert_eq!(status["draining"], false);
    let grpc = format!("grpc {}", daemon.url("grpc"));
    assert_eq!(status["addresses"], serde_json::json!([grpc]));
    let text = asked(daemon.home(), &["status"]).await;
    assert!(
        text.contains("serves") && text.contains("1 of at most 7 commands run"),
        "{text}"
    );
    assert!(text.contains(&grpc), "{text}");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_folder() {
    let home = Home::new();
    for words in [
        &["status"][..],
        &["drain"],
        &["reload"],
        &["log-level", "debug"],
    ] {
        let output = ask(&home, words).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{stderr}");
        let folder = home.path("state");
        assert!(stderr.contains(folder.to_str().unwrap()), "{stderr}");
        assert!(stderr.contains("--state-dir"), "{stderr}");
    }
    // One that was killed has left its socket.
    let mut daemon = Daemon::start_in(&home, &[]).await;
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    assert_eq!(ask(&home, &["status"]).await.status.code(), Some(69));
    let daemon = Daemon::start_in(&home, &[]).await;
    asked(&home, &["status"]).await;
    daemon.stop().await;
    assert!(!home.path("state/control.socket").exists());
}

#[tokio::test]
async fn a_state_folder_of_a_long_path_can_be_asked_too() {
    let home = Home::new();
    let long = home.path(&"x".repeat(200));
    let flags = ["--state-dir", long.to_str().unwrap()];
    let daemon = Daemon::start_in(&home, &flags).await;
    let mut command = tokio::process::Command::new(binary("remexd"));
    command.arg("status").args(flags);
    let output = soon("a status", command.output()).await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    daemon.stop().await;
}

/// How many connections to its control socket remexd has.
fn askers(remexd: Pid) -> usize {
    let sockets = fs::read_to_string("/proc/net/unix").expect("Unix sockets");
    // `0000000000000000: 00000003 00000000 00000000 0001 03 4711 /proc/self/fd/7/control.socket`: it is CONNECTED.
    let inode = |line: &str| {
        let mut fields = line.split_whitespace().skip(5);
        let (state, inode, path) = (fields.next()?, fields.next()?, fields.next()?);
        (state == "03" && path.ends_with("/control.socket")).then(|| format!("socket:[{inode}]"))
    };
    let of_all: Vec<_> = sockets.lines().filter_map(inode).collect();
    let own = fs::read_dir(format!("/proc/{}/fd", remexd.as_raw_nonzero())).expect("it runs");
    let links = own.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let is_asker = |link: &PathBuf| of_all.iter().any(|socket| link.as_os_str() == &**socket);
    links.filter(is_asker).count()
}

#[tokio::test]
async fn drain_returns_when_what_runs_has_ended() {
    let mut daemon = Daemon::start(&["--drain-timeout", "1h"]).await;
    let marker = Marker::new();
    let events = start(&daemon, &marker).await;
    let home = daemon.home().clone();
    let client = daemon.client().await;
    let drains: Vec<_> = (0..3)
        .map(|_| {
            let home = home.clone();
            tokio::spawn(async move { asked(&home, &["drain"]).await })
        })
        .collect();
    is_draining(&client).await;
    let pid = daemon.pid();
    eventually("three that ask", || (askers(pid) == 3).then_some(())).await;
    let json = asked(&home, &["status", "--json"]).await;
    let status: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&status["draining"], &status["running"]),
        (&true.into(), &1.into())
    );
    // To ask again has killed nothing.
    assert!(drains.iter().all(|drain| !drain.is_finished()));
    drop(events);
    for drain in drains {
        soon("the end of a drain", drain).await.unwrap();
    }
    assert_eq!(daemon.wait().await.code(), Some(0));
}

#[tokio::test]
async fn drain_with_kill_ends_what_runs_at_once() {
    for is_draining_already in [false, true] {
        let mut daemon = Daemon::start(&["--drain-timeout", "1h"]).await;
        let marker = Marker::new();
        let _events = start(&daemon, &marker).await;
        if is_draining_already {
            let client = daemon.client().await;
            daemon.signal(Signal::TERM);
            is_draining(&client).await;
        }
        asked(daemon.home(), &["drain", "--kill"]).await;
        assert_eq!(daemon.wait().await.code(), Some(0));
        marker.is_gone().await;
    }
}

#[tokio::test]
async fn the_level_of_the_log_changes_while_it_runs() {
    let daemon = Daemon::start(&["--log-level", "error"]).await;
    let home = daemon.home().clone();
    let run = async |text: &str| {
        let command = remex_client::Command::shell(text);
        soon("a run", daemon.client().await.run(command))
            .await
            .unwrap();
    };
    run("exit 41").await;
    asked(&home, &["log-level", "info"]).await;
    run("exit 42").await;
    eventually("its line", || home.log().contains("exit=42").then_some(())).await;
    assert!(!home.log().contains("exit=41"), "{}", home.log());
    // What the flags say holds again.
    asked(&home, &["reload"]).await;
    run("exit 43").await;
    asked(&home, &["log-level", "info"]).await;
    run("exit 44").await;
    eventually("its line", || home.log().contains("exit=44").then_some(())).await;
    assert!(!home.log().contains("exit=43"), "{}", home.log());
    assert_ne!(
        ask(&home, &["log-level", "loud"]).await.status.code(),
        Some(0)
    );
    daemon.stop().await;
}

#[tokio::test]
async fn reload_reads_the_file_again_and_says_what_has_to_wait() {
    let home = Home::new();
    let file = home.path("remexd.toml");
    let write = |text: &str| {
        let all = format!("listen = [\"127.0.0.1:0\"]\nno-legacy = true\n{text}");
        fs::write(&file, all).expect("a file");
    };
    write("log-level = \"error\"\n");
    let flags = ["--config", file.to_str().unwrap()];
    let mut daemon = Daemon::spawn(&home, home.service(&flags)).await;
    assert_eq!(asked(&home, &["reload"]).await, "");
    write("log-level = \"info\"\ndrain-timeout = \"1h\"\nsync = \"start\"\n");
    let said = asked(&home, &["reload"]).await;
    for line in [
        "changed: log-level",
        "changed: drain-timeout",
        "holds from the next start on: sync",
    ] {
        assert!(said.lines().any(|one| one == line), "{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    eventually("a line of that level", || {
        home.log().contains("INFO").then_some(())
    })
    .await;
    // What is wrong changes nothing, and is named.
    write("drain-timeout = \"soon\"\n");
    let output = ask(&home, &["reload"]).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(
        stderr.contains("remexd.toml:3") && stderr.contains("soon"),
        "{stderr}"
    );
    // SIGHUP does the same.
    write("log-level = \"error\"\ndrain-timeout = \"1ms\"\n");
    let before = home.log().len();
    daemon.signal(Signal::HUP);
    eventually("the level of the log", || {
        let log = home.log();
        log.contains("SIGHUP").then_some(())
    })
    .await;
    let marker = Marker::new();
    let _events = start(&daemon, &marker).await;
    // Errors alone are logged from some time on, so that nothing tells of it but the drain.
    assert!(home.log().len() >= before);
    soon("the new drain timeout", async {
        while asked(&home, &["reload"]).await.contains("changed") {}
    })
    .await;
    asked(&home, &["drain"]).await;
    assert_eq!(daemon.wait().await.code(), Some(0));
}

#[tokio::test]
async fn whoever_asks_for_nothing_that_is_known_is_told_so_and_holds_up_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let daemon = Daemon::start(&[]).await;
    let socket = daemon.home().path("state/control.socket");
    let connect = || tokio::net::UnixStream::connect(&socket);
    let mut stream = connect().await.unwrap();
    stream.write_all(b"{\"ask\":\"explode\"}\n").await.unwrap();
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("{\"refused\":"), "{answer}");
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(connect().await.unwrap());
    }
    asked(daemon.home(), &["status"]).await;
    daemon.stop().await;
}

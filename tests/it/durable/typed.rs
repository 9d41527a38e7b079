//! `remex start`, `attach`, `logs`, `rm` and `kill --all`, as they are typed.

use std::process::Stdio;

use remex::v1::{Keep, StartRequest, keep::OnFull};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{
    harness::{
        Daemon, Marker,
        command_line::{remex, result, said},
        soon,
        terminal::Screen,
    },
    supervision::support::{Server, shell},
};

/// The id that `remex start ARGS` prints.
async fn started(server: &str, args: &[&str]) -> String {
    let (code, id, stderr) = result(remex(server, &[&["start"], args].concat())).await;
    assert_eq!((code, &*stderr), (0, ""));
    id.trim_end().to_owned()
}

#[tokio::test]
async fn what_was_started_is_shown_waited_for_and_forgotten() {
    let daemon = Daemon::start(&[]).await;
    let server = daemon.url("grpc").to_owned();
    let go = daemon.home().path("go");
    let script = format!(
        "echo out; echo err >&2; while [ ! -e {} ]; do sleep 0.01; done; echo end; exit 6",
        go.display()
    );
    let id = started(&server, &["--shell", &script]).await;
    let shown = eventually_shown(&server, &id, "err").await;
    assert_eq!(shown, (0, "out\n".into(), "err\n".into()));
    let (code, _, stderr) = result(remex(&server, &["rm", &id])).await;
    assert_eq!(code, 255);
    assert!(stderr.contains("`remex kill`"), "{stderr}");

    let following = remex(&server, &["logs", "-f", &id])
        .spawn()
        .expect("remex runs");
    let attached = remex(&server, &["attach", "-n", &id])
        .spawn()
        .expect("remex runs");
    let observing = remex(&server, &["attach", "--observer", &id])
        .spawn()
        .expect("remex runs");
    std::fs::write(&go, "").expect("a file");
    let whole = (6, "out\nend\n".to_owned(), "err\n".to_owned());
    for reader in [following, attached, observing] {
        assert_eq!(said(reader).await, whole);
    }
    assert_eq!(result(remex(&server, &["wait", &id])).await.0, 6);
    // As often as one likes; the exit code of the command is for those who follow.
    let (code, stdout, _) = result(remex(&server, &["logs", &id])).await;
    assert_eq!((code, &*stdout), (0, "out\nend\n"));
    assert_eq!(result(remex(&server, &["attach", &id])).await, whole);
    assert_eq!(result(remex(&server, &["rm", &id])).await.0, 0);
    let (code, _, stderr) = result(remex(&server, &["logs", &id])).await;
    assert_eq!(
        (code, &*stderr),
        (
            255,
            "remex: there is no such execution; see `remex ps -a` (EXECUTION_NOT_FOUND)\n"
        )
    );
    daemon.stop().await;
}

/// What `remex logs` shows, once that has `text` in it.
async fn eventually_shown(server: &str, id: &str, text: &str) -> (i32, String, String) {
    soon(text, async {
        loop {
            let shown = result(remex(server, &["logs", id])).await;
            if shown.1.contains(text) || shown.2.contains(text) {
                return shown;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_is_killed_is_followed_by_one_that_goes_on() {
    let daemon = Daemon::start(&[]).await;
    let server = daemon.url("grpc").to_owned();
    let script =
        "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.02; done; read x; echo $x; exit 4";
    let args = [
        "run",
        "--json",
        "--on-disconnect",
        "detach",
        "--shell",
        script,
    ];
    let mut child = remex(&server, &args)
        .stdin(Stdio::piped())
        .spawn()
        .expect("remex runs");
    let _stdin = child.stdin.take();
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut events: Vec<serde_json::Value> = Vec::new();
    while events.len() < 4 {
        let line = soon("an event", lines.next_line())
            .await
            .expect("a pipe")
            .expect("a line");
        events.push(serde_json::from_str(&line).expect("JSON"));
    }
    child.start_kill().expect("it runs");
    soon("its end", child.wait()).await.expect("a child");
    let id = events[0]["execution_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let after = events[3]["sequence"].to_string();
    let args = ["attach", "--json", "--after", &after, &id];
    let mut next = remex(&server, &args)
        .stdin(Stdio::piped())
        .spawn()
        .expect("remex runs");
    let mut stdin = next.stdin.take().expect("stdin");
    stdin.write_all(b"typed\n").await.expect("a pipe");
    drop(stdin);
    let (code, stdout, stderr) = said(next).await;
    assert_eq!((code, &*stderr), (4, ""));
    let rest = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    events.extend(rest);
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event["sequence"], index + 1, "{event}");
    }
    let text: String = events
        .iter()
        .filter_map(|event| event["text"].as_str())
        .collect();
    assert_eq!(text, "1\n2\n3\n4\n5\n6\n7\n8\n9\ntyped\n");
    daemon.stop().await;
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let server = Server::start(&[]).await;
    let url = server.daemon.url("grpc").to_owned();
    let marker = Marker::new();
    let mut running = remex(
        &url,
        &["run", "-n", "--json", "--", "sleep", &marker.to_string()],
    )
    .spawn()
    .expect("remex runs");
    let mut lines = BufReader::new(running.stdout.take().expect("stdout")).lines();
    let first = soon("an event", lines.next_line())
        .await
        .expect("a pipe")
        .expect("a line");
    let first: serde_json::Value = serde_json::from_str(&first).expect("JSON");
    let id = first["execution_id"].as_str().expect("an id");
    for verb in [&["attach", id][..], &["logs", id], &["logs", "-f", id]] {
        let (code, stdout, stderr) = result(remex(&url, verb)).await;
        assert_eq!(
            (code, &*stdout, stderr.lines().count()),
            (255, "", 1),
            "{stderr}"
        );
        assert!(
            stderr.contains("`remex run --resume`") && stderr.contains("NOT_DURABLE"),
            "{stderr}"
        );
    }
    let run = |code: &'static str| ["run", "--request-id", "one", "--shell", code];
    for _ in 0..2 {
        let (code, stdout, stderr) = result(remex(&url, &run("echo once; exit 3"))).await;
        assert_eq!((code, &*stdout, &*stderr), (3, "once\n", ""));
    }
    let (code, _, stderr) = result(remex(&url, &run("exit 4"))).await;
    assert_eq!(code, 255);
    assert!(
        stderr.contains("--request-id") && stderr.contains("choose another id"),
        "{stderr}"
    );
    let ended = started(&url, &["true"]).await;
    result(remex(&url, &["wait", &ended])).await;
    let (code, _, stderr) = result(remex(&url, &["logs", "--after", "99", &ended])).await;
    assert_eq!(code, 255);
    assert!(
        stderr.contains("POSITION_AHEAD") && stderr.contains("--after"),
        "{stderr}"
    );
    // Everything, durable or not.
    let durable = started(&url, &["--", "sleep", &marker.to_string()]).await;
    assert_eq!(
        result(remex(&url, &["kill", "-9", "--all"])).await,
        (0, String::new(), String::new())
    );
    assert_eq!(result(remex(&url, &["wait", &durable])).await.0, 137);
    assert_eq!(said(running).await.0, 137);
    marker.is_gone().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn output_that_is_gone_is_told_on_stderr() {
    let server = Server::start(&[]).await;
    let url = server.daemon.url("grpc").to_owned();
    let request = StartRequest {
        keep: Some(Keep {
            max_bytes: 1 << 20,
            on_full: OnFull::DropOldest.into(),
            no_output: false,
        }),
        ..shell("seq 1 2000000")
    };
    let id = server.detach(request).await;
    server.wait(&id).await;
    let total = server.get(&id).await.stdout_bytes_total;
    let (code, stdout, stderr) = result(remex(&url, &["logs", "-f", &id])).await;
    assert_eq!(code, 0);
    let missing = total - stdout.len() as u64;
    assert!(missing > 0, "nothing was dropped");
    assert_eq!(
        stderr,
        format!("remex: {missing} bytes of output are missing here\n")
    );
    assert!(stdout.ends_with("\n1999999\n2000000\n"));
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_terminal_is_left_by_its_keys_and_painted_again() {
    let daemon = Daemon::start(&[]).await;
    let server = daemon.url("grpc").to_owned();
    // bash forgets a signal that comes while its trap runs, so the trap is nothing that takes a while.
    let script = "trap 'w=1' WINCH; echo ready
        while :; do
            read -t 0.05 y; r=$?
            if [ $w ]; then w=; echo size $(stty size); fi
            # The time may be over in mid-line.
            x=$x$y
            if [ $r -eq 0 ]; then
                case $x in (q) exit 8;; (?*) echo got $x;; esac
                x=
            elif [ $r -le 128 ]; then
                exit 9
            fi
        done";
    let id = started(&server, &["-t", "--", "bash", "-c", script]).await;
    // By then it is told of sizes.
    eventually_shown(&server, &id, "ready").await;
    let mut screen = Screen::run(remex(&server, &["attach", &id]), 30, 90);
    screen.shows("ready").await;
    screen.shows("size 30 90").await;
    screen.types(b"hello\r");
    screen.shows("got hello").await;
    screen.types(b"\x10\x11");
    let (code, stderr) = screen.said().await;
    assert_eq!(
        (code, stderr),
        (
            0,
            format!("remex: left {id}; `remex attach {id}` joins it again\n")
        )
    );
    // What was on it, and, since it has the same size, once more what its program paints.
    let mut screen = Screen::run(remex(&server, &["attach", &id]), 30, 90);
    screen.shows("got hello").await;
    screen.shows("size 30 90").await;
    screen.types(b"q\r");
    assert_eq!(screen.said().await.0, 8);
    daemon.stop().await;
}

#[tokio::test]
async fn a_follower_that_is_interrupted_ends_nothing() {
    let daemon = Daemon::start(&[]).await;
    let server = daemon.url("grpc").to_owned();
    let marker = Marker::new();
    let id = started(
        &server,
        &["--shell", &format!("echo here; exec sleep {marker}")],
    )
    .await;
    let mut following = remex(&server, &["logs", "-f", &id])
        .spawn()
        .expect("remex runs");
    let mut lines = BufReader::new(following.stdout.take().expect("stdout")).lines();
    let line = soon("a line", lines.next_line()).await.expect("a pipe");
    assert_eq!(line.as_deref(), Some("here"));
    let pid = following.id().expect("it runs").cast_signed();
    let pid = Pid::from_raw(pid).expect("a pid");
    kill_process(pid, Signal::INT).expect("it runs");
    soon("its end", following.wait()).await.expect("a child");
    assert!(!marker.processes().is_empty(), "it was ended");
    assert_eq!(result(remex(&server, &["kill", &id])).await.0, 0);
    assert_eq!(result(remex(&server, &["wait", &id])).await.0, 143);
    daemon.stop().await;
}

//! The subcommands that make one call, and how all of them fail.

use std::process::Stdio;

use super::{lines, output_of, remex, result};
use crate::fake::Fake;

#[test]
fn failures_of_remex_itself_are_255_and_one_line() {
    let server = Fake::start();
    for args in [
        &["fly"][..],
        &["run"],
        &["run", "--request-id", "x", "--", "true"],
        &["run", "--resume", "--", "true"],
        &["start", "--", "true"],
        &["attach", "nobody"],
        &["logs", "-f", "nobody"],
        &["run", "--env", "SURELY_NOT_SET_HERE", "--", "true"],
        &["run", "-t", "--", "true"],
        &["wait", "nobody"],
        &["kill", "nobody"],
        &["rm", "nobody"],
        &["ps", "--server", "unix:/no/such/socket"],
        &["legacy", "127.0.0.1:1", "x"],
    ] {
        let (code, stdout, stderr) = result(&mut remex(&server, args));
        assert_eq!((code, stdout.as_str()), (255, ""), "{args:?}: {stderr}");
        assert!(
            stderr.starts_with("remex: ") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}

#[test]
fn executions_are_listed_waited_for_and_signalled() {
    let server = Fake::start();
    let mut child = remex(&server, ["run", "--shell", "echo ready; cat"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    assert_eq!(lines(&mut child).next().unwrap(), "ready");
    let (code, table, _) = result(&mut remex(&server, ["ps"]));
    assert_eq!(code, 0);
    let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        (row[0], row[1], row[4]),
        ("exec-1", "running", "unix:1000"),
        "{table}"
    );
    let waiting = remex(&server, ["wait", "exec-1"]).spawn().unwrap();
    let outcome = result(&mut remex(&server, ["kill", "-s", "SIGKILL", "exec-1"]));
    assert_eq!(outcome, (0, String::new(), String::new()));
    let waited = output_of(waiting);
    assert_eq!(
        (
            waited.status.code(),
            waited.stdout.len(),
            waited.stderr.len()
        ),
        (Some(137), 0, 0)
    );
    assert_eq!(output_of(child).status.code(), Some(137));
    drop(stdin);
    result(&mut remex(&server, ["run", "true"]));
    // What has ended is not there any more, unless it is asked for.
    let shown = |args: &[&str]| {
        let (code, table, stderr) = result(&mut remex(&server, args));
        assert_eq!((code, &*stderr), (0, ""));
        let row = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        table.lines().map(row).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(shown(&["ps"]).len(), 1);
    let all = shown(&["ps", "-a"]);
    assert_eq!(all[0][..4], ["ID", "STATE", "EXIT", "PID"]);
    assert_eq!(all[1][..4], ["exec-2", "ended", "0", "-"]);
    assert_eq!(all[2][..4], ["exec-1", "ended", "SIGKILL", "-"]);
    assert_eq!(shown(&["ps", "-aq"]), [["exec-2"], ["exec-1"]]);
    let (code, _, stderr) = result(&mut remex(&server, ["kill", "exec-1"]));
    assert_eq!(code, 255);
    assert_eq!(
        stderr,
        "remex: exec-1: it has ended; see `remex ps -a` (EXECUTION_ENDED)\n"
    );
}

#[test]
fn records_are_lines_of_json() {
    let server = Fake::start();
    let args = ["run", "--label", "job=7", "--", "sh", "-c", "exit 3"];
    assert_eq!(result(&mut remex(&server, args)).0, 3);
    let (_, stdout, _) = result(&mut remex(&server, ["ps", "-a", "--json"]));
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let record: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(record["execution_id"], "exec-1");
    assert_eq!(record["state"], "ended");
    assert_eq!(record["exit"]["exit_code"], 3);
    assert_eq!(record["argv"][2], "exit 3");
    let (_, stdout, _) = result(&mut remex(&server, ["ps", "--json"]));
    assert_eq!(stdout, "");
}

#[test]
fn several_are_named_at_once_by_the_beginnings_of_their_ids() {
    let server = Fake::start();
    for code in ["exit 3", "exit 4"] {
        result(&mut remex(&server, ["run", "--shell", code]));
    }
    let (code, _, stderr) = result(&mut remex(&server, ["wait", "exec-1", "exec-2"]));
    assert_eq!((code, &*stderr), (4, ""));
    let (code, _, stderr) = result(&mut remex(&server, ["wait", "exec-2", "exec-1"]));
    assert_eq!((code, &*stderr), (3, ""));
    let (code, _, stderr) = result(&mut remex(&server, ["wait", "e"]));
    assert_eq!(code, 255);
    assert_eq!(
        stderr,
        "remex: \"e\" fits 2 executions, exec-2, exec-1; write more of it\n"
    );
    let mut running = remex(&server, ["run", "--shell", "echo ready; exec sleep 60"])
        .spawn()
        .unwrap();
    assert_eq!(lines(&mut running).next().unwrap(), "ready");
    // What fails is told, and the others are done all the same.
    let (code, _, stderr) = result(&mut remex(&server, ["rm", "nobody", "exec-3", "exec-1"]));
    assert_eq!(code, 255);
    assert_eq!(
        stderr,
        "remex: no execution begins with \"nobody\"; see `remex ps -a`\n\
         remex: exec-3: it runs; end it first with `remex kill` (EXECUTION_RUNNING)\n"
    );
    assert_eq!(result(&mut remex(&server, ["kill", "-9", "exec-3"])).0, 0);
    assert_eq!(output_of(running).status.code(), Some(137));
    let (_, ids, _) = result(&mut remex(&server, ["ps", "-aq"]));
    assert_eq!(ids, "exec-3\nexec-2\n");
}

#[test]
fn echo_and_ping_answer() {
    let server = Fake::start();
    let outcome = result(&mut remex(&server, ["echo", "hi \u{1b}[2J"]));
    assert_eq!(outcome, (0, "HI \\u{1b}[2J\n".into(), String::new()));
    let (code, stdout, _) = result(&mut remex(&server, ["ping"]));
    let said = format!("{}: remexd {}, ", server.endpoint, remex::VERSION);
    assert!(code == 0 && stdout.starts_with(&said), "{stdout}");
}

#[tokio::test]
async fn version_shows_both_ends() {
    let server = Fake::start();
    let ours = format!("remex {}\n", remex::VERSION);
    let theirs = format!("remexd {} at {}\n", remex::VERSION, server.endpoint);
    let mut version = remex(&server, ["version"]);
    let outcome = result(&mut version);
    assert_eq!(outcome, (0, format!("{ours}{theirs}"), String::new()));
    server.stop().await;
    let (code, stdout, stderr) = result(&mut version);
    assert_eq!((code, &*stdout), (255, &*ours), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[tokio::test]
async fn ping_waits_for_the_server() {
    // On an address of its own: nobody else takes its port between two servers.
    let server = Fake::on(([127, 0, 0, 2], 0).into());
    let port = server.port();
    let mut command = remex(&server, ["ping", "--wait", "30s"]);
    let hopeless = remex(&server, ["ping", "--wait", "10ms"]).spawn().unwrap();
    assert!(output_of(hopeless).status.success());
    server.stop().await;
    let child = command.spawn().unwrap();
    let server = Fake::on(([127, 0, 0, 2], port).into());
    assert!(output_of(child).status.success());
    let mut hopeless = remex(&server, ["ping", "--wait", "10ms"]);
    server.stop().await;
    assert_eq!(
        output_of(hopeless.spawn().unwrap()).status.code(),
        Some(255)
    );
}

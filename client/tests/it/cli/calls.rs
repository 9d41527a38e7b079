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
        &["run", "--env", "SURELY_NOT_SET_HERE", "--", "true"],
        &["run", "-t", "--", "true"],
        &["wait", "nobody"],
        &["kill", "nobody"],
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
    let (_, table, _) = result(&mut remex(&server, ["ps"]));
    let ids: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(ids, ["ID", "exec-2", "exec-1"]);
    let (code, _, stderr) = result(&mut remex(&server, ["kill", "exec-1"]));
    assert_eq!(code, 255);
    assert!(stderr.contains("EXECUTION_ENDED"), "{stderr}");
}

#[test]
fn echo_and_ping_answer() {
    let server = Fake::start();
    let outcome = result(&mut remex(&server, ["echo", "hi \u{1b}[2J"]));
    assert_eq!(outcome, (0, "HI \\x1b[2J\n".into(), String::new()));
    let (code, stdout, _) = result(&mut remex(&server, ["ping"]));
    let said = format!("{}: remexd {}, ", server.endpoint, remex::VERSION);
    assert!(code == 0 && stdout.starts_with(&said), "{stdout}");
}

#[tokio::test]
async fn ping_waits_for_the_server() {
    let server = Fake::start();
    let port = server.port();
    let mut command = remex(&server, ["ping", "--wait", "30s"]);
    let hopeless = remex(&server, ["ping", "--wait", "10ms"]).spawn().unwrap();
    assert!(output_of(hopeless).status.success());
    server.stop().await;
    let child = command.spawn().unwrap();
    let server = Fake::on(([127, 0, 0, 1], port).into());
    assert!(output_of(child).status.success());
    let mut hopeless = remex(&server, ["ping", "--wait", "10ms"]);
    server.stop().await;
    assert_eq!(
        output_of(hopeless.spawn().unwrap()).status.code(),
        Some(255)
    );
}

//! What a command is given: nothing that remexd was started with, and nothing that the kernel would not take.

use std::time::Instant;

use remex::error::Reason as Refusal;
use rustix::process::Signal;

use super::{
    super::support::{RequestExt, Server, argv, shell},
    SERVED, is_served,
};
use crate::harness::{
    Daemon, Home,
    tools::{program, root},
};

#[tokio::test]
async fn pitfall_50_what_remexd_was_started_with_is_put_right_and_not_passed_on() {
    skip_unless!(root());
    skip_unless!(program("setpriv"));
    let home = Home::new();
    // The capabilities come last: they would not survive the change of user otherwise.
    let wrapper = [
        "env",
        "--ignore-signal=CHLD,HUP,USR1",
        "--block-signal=TERM,CHLD,USR2",
        "setpriv",
        "--inh-caps",
        "+setuid,+setgid",
        "--ambient-caps",
        "+setuid,+setgid",
    ];
    let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &[])).await;
    let server = Server {
        client: daemon.client().await,
        daemon,
    };
    // With SIGCHLD ignored, no exit would be known.
    assert_eq!(server.run(shell("exit 7")).await.exit().code, Some(7));
    for user in ["", "4100000123"] {
        let status = argv(["cat", "/proc/self/status"]);
        let status = status.with(|command| command.user = user.into());
        let record = server.run(status).await;
        let text = record.text();
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().trim().to_owned()
        };
        let mut zero = vec!["SigBlk:", "SigIgn:", "SigCgt:", "CapInh:", "CapAmb:"];
        if !user.is_empty() {
            zero.extend(["CapPrm:", "CapEff:"]);
        }
        for key in zero {
            assert_eq!(value(key), "0000000000000000", "{key} as {user:?}");
        }
    }
    // nohup's SIGHUP is remexd's own affair.
    server.daemon.signal(Signal::HUP);
    is_served(&server).await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn pitfall_52_what_is_too_large_is_refused_before_any_work() {
    let server = Server::start(&[]).await;
    let many_arguments = argv([]).with(|command| command.argv = vec!["x".into(); 65_537]);
    let empty_arguments = argv(["true"]).with(|command| {
        command.argv.resize(200_000, String::new());
    });
    let many_variables = argv(["true"]).with(|command| {
        let variables = (0..66_000).map(|number| (format!("V{number}"), "1".to_owned()));
        command.environment.extend(variables);
    });
    let too_much = argv(["true"]).with(|command| command.argv.resize(30, "x".repeat(131_071)));
    for request in [many_arguments, empty_arguments, many_variables, too_much] {
        let begin = Instant::now();
        let status = server.refusal(request).await;
        assert_eq!(
            Refusal::of(&status),
            Some(Refusal::CommandTooLarge),
            "{status:?}"
        );
        assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
    }
    let variables = (0..30_000).map(|number| (format!("V{number}"), "1".to_owned()));
    let begin = Instant::now();
    let many = shell("env | grep -c ^V").with(|command| command.environment.extend(variables));
    assert_eq!(server.run(many).await.text(), "30000\n");
    assert!(begin.elapsed() < SERVED, "{:?}", begin.elapsed());
    server.daemon.stop().await;
}

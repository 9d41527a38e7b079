//! Lines as they are typed: what they ask for, and the one line that says what is wrong with them.

use remex_client::Endpoint;

use super::*;

/// An environment that says where the server is, unless it is empty.
fn environment(server: &str) -> ServerArgs {
    ServerArgs {
        server: (!server.is_empty()).then(|| server.to_owned()),
        ..ServerArgs::default()
    }
}

fn parsed(words: &[&str]) -> Asked {
    match Asked::parse(words, &environment("")) {
        Ok(asked) => asked,
        Err(refusal) => panic!("{words:?}: {refusal:?}"),
    }
}

fn run_args(words: &[&str]) -> RunArgs {
    match parsed(words).verb {
        Verb::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_holds() {
    CommandLine::command().debug_assert();
}

#[test]
fn the_server_stands_before_or_after_the_subcommand_or_in_the_environment() {
    let socket = Endpoint::Unix("/s".into());
    for words in [
        ["remex", "--server", "unix:/s", "ps"],
        ["remex", "ps", "--server", "unix:/s"],
    ] {
        assert_eq!(parsed(&words).server.endpoint, socket);
        let both = Asked::parse(words, &environment("unix:/other")).unwrap();
        assert_eq!(both.server.endpoint, socket);
    }
    let server = |variable| {
        Asked::parse(["remex", "ps"], &environment(variable))
            .unwrap()
            .server
            .endpoint
    };
    assert_eq!(server("unix:/s"), socket);
    assert_eq!(server(""), Endpoint::default());
    // It calls no remexd, so nothing that is said of one stands in its way.
    let legacy = ["remex", "legacy", "h:1", "ls"];
    assert!(Asked::parse(legacy, &environment("no such thing")).is_ok());
}

#[test]
fn what_follows_the_program_is_its_own() {
    let args = run_args(&["remex", "run", "-n", "--", "ls", "-l", "--", "--server"]);
    assert_eq!(args.command.argv, ["ls", "-l", "--", "--server"]);
    assert!(args.no_stdin);
    let args = run_args(&["remex", "run", "ls", "-n", "--json", "-h"]);
    assert_eq!(args.command.argv, ["ls", "-n", "--json", "-h"]);
    let args = run_args(&["remex", "run", "--", "-x"]);
    assert_eq!(args.command.argv, ["-x"]);
}

#[test]
fn habits_of_others_work_where_they_mean_one_thing() {
    assert!(run_args(&["remex", "run", "-it", "--", "sh"]).terminal);
    assert!(run_args(&["remex", "run", "-tt", "sh"]).terminal);
    let args = run_args(&[
        "remex", "run", "-e", "A=1", "-eB=2", "-w", "/", "-u", "x", "sh",
    ]);
    assert_eq!(
        (args.command.env.len(), args.command.cwd.as_deref()),
        (2, Some("/"))
    );
    for words in [
        &["remex", "kill", "-9", "x", "y"][..],
        &["remex", "kill", "-KILL", "x"],
        &["remex", "kill", "-SIGKILL", "x"],
        &["remex", "kill", "x", "-9"],
        &["remex", "kill", "-s", "9", "x"],
        &["remex", "kill", "-sKILL", "x"],
        &["remex", "kill", "--signal=kill", "x"],
        &["remex", "kill", "-s", "-9", "x"],
    ] {
        let asked = format!("{:?}", parsed(words).verb);
        assert!(
            asked.contains("signal: Some(Signal(9))"),
            "{words:?}: {asked}"
        );
    }
}

#[test]
fn help_is_no_failure() {
    for words in [
        &["remex"][..],
        &["remex", "--help"],
        &["remex", "-h"],
        &["remex", "help"],
        &["remex", "help", "run"],
        &["remex", "run", "-h"],
        &["remex", "ps", "--help"],
        &["remex", "--version"],
        &["remex", "-V"],
    ] {
        let refusal = Asked::parse(words, &environment("")).unwrap_err();
        assert!(matches!(refusal, Refusal::Asked(_)), "{words:?}");
    }
}

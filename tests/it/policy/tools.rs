//! `remexd policy test`, `remexd policy explain` and `--check`.

use std::{fs, process::Output};

use super::site::allow;
use crate::tls::tokens::remexd;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_says(output: &Output, code: i32, parts: &[&str]) {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "no {part:?}: {said}");
    }
}

#[tokio::test]
async fn explain_says_what_a_policy_says_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let path = file.to_str().unwrap();
    let rules = allow("programs = ['/bin/echo']\narguments = ['a', '*']\nforce.user = 'root'");
    let deny = "[[rule]]\nname = 'never'\ndecision = 'deny'\nidentities = ['token:*']\n";
    fs::write(&file, format!("{rules}{deny}")).unwrap();
    let explain = async |caller: &str, words: &[&str]| {
        let question = ["policy", "explain", "--policy", path, "--as", caller];
        remexd(&[&question[..], words].concat()).await
    };
    for (caller, words, code, parts) in [
        (
            "unix:root",
            vec!["--", "/bin/echo", "a", "b"],
            0,
            vec!["allowed", "\"allow\" (line 2)", "user root"],
        ),
        (
            "unix:root",
            vec!["--", "echo", "a", "b"],
            0,
            vec!["allowed"],
        ),
        (
            "unix:root",
            vec!["--", "/bin/echo", "a", "/b"],
            77,
            vec!["denied", "arguments"],
        ),
        (
            "unix:root",
            vec!["--shell", "--", "echo"],
            77,
            vec!["denied", "program"],
        ),
        (
            "unix:root",
            vec!["-e", "LD_PRELOAD=x", "--", "/bin/echo", "a", "b"],
            77,
            vec!["environment"],
        ),
        (
            "unix:root",
            vec!["--from-execution", "--", "/bin/echo", "a", "b"],
            77,
            vec!["from_executions"],
        ),
        (
            "unix:7",
            vec!["--", "/bin/echo", "a", "b"],
            77,
            vec!["denied", "no rule"],
        ),
        (
            "token:ci",
            vec!["--", "/bin/echo", "a", "b"],
            77,
            vec!["denied by the rule \"never\""],
        ),
        ("ci", vec!["--", "/bin/echo"], 64, vec!["unix:USER"]),
    ] {
        assert_says(&explain(caller, &words).await, code, &parts);
    }
}

#[tokio::test]
async fn promise_3_a_rule_that_allows_everything_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let path = file.to_str().unwrap();
    for (rule, is_broad) in [
        ("shell = true", true),
        ("programs = 'any'", true),
        ("programs = ['/bin/sh']", true),
        ("programs = ['/usr/bin/env']\narguments = 'any'", true),
        ("programs = ['/usr/bin/find']\narguments = ['*', '*']", true),
        ("programs = ['/usr/bin/python3']\narguments = 'any'", true),
        ("programs = ['/usr/bin/vi*']\narguments = 'any'", true),
        ("programs = ['/bin/sh']\narguments = ['/opt/script']", false),
        (
            "programs = ['/bin/true']\nenvironment = ['LD_PRELOAD']",
            true,
        ),
        ("programs = ['/bin/true']\nenvironment = 'any'", true),
        (
            "programs = ['/bin/true', '/bin/echo']\narguments = ['x-*']",
            false,
        ),
    ] {
        fs::write(&file, allow(rule)).unwrap();
        let test = remexd(&["policy", "test", path]).await;
        assert_says(&test, 0, &["A policy of 1 rules"]);
        let check = remexd(&["--check", "--no-legacy", "--policy", path]).await;
        assert_says(&check, 0, &["gRPC on", "A policy of 1 rules"]);
        let question = [
            "policy",
            "explain",
            "--policy",
            path,
            "--as",
            "unix:root",
            "--shell",
            "--",
            "x",
        ];
        let explained = text(&remexd(&question).await.stdout);
        for said in [text(&test.stdout), text(&check.stdout)] {
            assert_eq!(
                said.contains("allows everything"),
                is_broad,
                "{rule}: {said}"
            );
        }
        let is_shell = rule.contains("shell");
        assert_eq!(
            explained.contains("allows everything"),
            is_shell,
            "{rule}: {explained}"
        );
    }
}

#[tokio::test]
async fn a_broken_policy_is_an_error_of_use_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "[[rule]]\nname = 'x'\n").unwrap();
    let missing = "policy.toml:1: rule[0]: missing key `decision`";
    for words in [
        vec!["policy", "test", path],
        vec!["--check", "--policy", path],
        vec!["--policy", path],
    ] {
        assert_says(&remexd(&words).await, 64, &[missing]);
    }
    assert_says(
        &remexd(&["--check", "--policy", "/no-such-file"]).await,
        64,
        &["--policy", "/no-such-file"],
    );
}

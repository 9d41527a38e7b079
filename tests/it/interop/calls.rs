//! What calls are refused for, and how large, how small and by which way they go.

use std::fs;

use super::{
    language::{Language, fed, finished, told},
    streams::many_bytes,
};
use crate::harness::{
    Daemon, Home,
    relay::Relay,
    tools::{self, OTHER_USER},
};

pub(crate) async fn refusals_have_their_reasons(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    for (program, code, reason) in [
        ("/no/such/program", 127, "PROGRAM_NOT_FOUND"),
        ("/etc/passwd", 126, "PROGRAM_NOT_EXECUTABLE"),
        ("", 255, "INVALID_COMMAND"),
    ] {
        for verb in ["run", "capture"] {
            let output = finished(language.call(&daemon, verb, &[], &[program])).await;
            let (seen, stdout, stderr) = told(&output);
            assert_eq!((seen, &*stdout), (Some(code), ""), "{stderr}");
            assert!(stderr.contains(reason), "{verb}: {stderr}");
        }
    }
    daemon.stop().await;
}

/// By a rule, and for want of one; the message says which, as a person has to know who asks for another.
pub(crate) async fn denied_by_the_policy(language: &Language) {
    const POLICY: &str = "
        [[rule]]
        name = 'tools'
        decision = 'allow'
        users = ['root']
        programs = ['/bin/echo', '/bin/cat']
        arguments = 'any'
        force.isolation = 'off'

        [[rule]]
        name = 'never-cat'
        decision = 'deny'
        programs = ['/bin/cat']
    ";
    skip_unless!(tools::root());
    let home = Home::new();
    let file = home.path("policy.toml");
    fs::write(&file, POLICY).expect("a policy");
    let daemon = Daemon::start_in(&home, &["--policy", file.to_str().expect("UTF-8")]).await;
    for verb in ["run", "capture"] {
        let output = finished(language.call(&daemon, verb, &[], &["echo", "allowed"])).await;
        let (code, stdout, stderr) = told(&output);
        assert_eq!((code, &*stdout), (Some(0), "allowed\n"), "{stderr}");
        for (program, rule) in [("cat", "never-cat"), ("ls", "tools")] {
            let output = finished(language.call(&daemon, verb, &[], &[program, "/"])).await;
            let (code, stdout, stderr) = told(&output);
            assert_eq!((code, &*stdout), (Some(255), ""), "{stderr}");
            for part in ["POLICY_DENIED", &format!("{rule:?}")] {
                assert!(stderr.contains(part), "{verb} {program}: {stderr}");
            }
        }
    }
    daemon.stop().await;
}

pub(crate) async fn another_user(language: &Language) {
    skip_unless!(tools::root());
    let daemon = Daemon::start(&["--chdir", "/"]).await;
    let other = OTHER_USER.to_string();
    let flags = ["--user", &other];
    let output = finished(language.call(&daemon, "run", &flags, &["id", "-u"])).await;
    let (code, stdout, stderr) = told(&output);
    assert_eq!((code, stdout.trim()), (Some(0), &*other), "{stderr}");
    let flags = ["--user", "no-such-user"];
    let output = finished(language.call(&daemon, "run", &flags, &["id", "-u"])).await;
    let (code, _, stderr) = told(&output);
    assert_eq!(code, Some(255), "{stderr}");
    assert!(stderr.contains("USER_NOT_FOUND"), "{stderr}");
    daemon.stop().await;
}

/// Most libraries take no more than that, unless they are told.
pub(crate) async fn answers_above_4_mib(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let file = daemon.home().path("bytes");
    fs::write(&file, many_bytes()).expect("a file");
    let argv = ["cat", file.to_str().expect("a name")];
    let flags = ["--max-bytes", "16777216"];
    let output = finished(language.call(&daemon, "capture", &flags, &argv)).await;
    assert!(output.status.success(), "{:?}", output.status);
    assert!(output.stdout == many_bytes(), "{}", output.stdout.len());
    // What is cut is said to be.
    let flags = ["--max-bytes", "10"];
    let output = finished(language.call(&daemon, "capture", &flags, &argv)).await;
    assert_eq!(output.stdout, many_bytes()[..10]);
    let (_, _, stderr) = told(&output);
    assert!(stderr.contains("of 5000000 bytes"), "{stderr}");
    daemon.stop().await;
}

pub(crate) async fn requests_above_4_mib(language: &Language) {
    let daemon = Daemon::start(&[]).await;
    let client = language.call(&daemon, "capture", &[], &["wc", "-c"]);
    let (code, _, stderr) = told(&fed(client, &many_bytes()).await);
    assert_eq!(code, Some(255), "{stderr}");
    assert!(stderr.contains("MESSAGE_TOO_LARGE"), "{stderr}");
    daemon.stop().await;
}

/// Seen from outside: few bytes pass.
pub(crate) async fn compressed_requests(language: &Language) {
    const BYTES: usize = 3_000_000;
    let daemon = Daemon::start(&[]).await;
    for (flags, passes) in [(&["--gzip"][..], 0..300_000), (&[], BYTES..2 * BYTES)] {
        let relay = Relay::to(daemon.socket("grpc")).await;
        let server = relay.address().to_string();
        let client = language.at(&server, "capture", flags, &["wc", "-c"]);
        let (code, stdout, stderr) = told(&fed(client, &vec![b'a'; BYTES]).await);
        assert_eq!((code, stdout.trim()), (Some(0), "3000000"), "{stderr}");
        let passed = relay.passed();
        assert!(passes.contains(&passed), "{flags:?}: {passed}");
    }
    daemon.stop().await;
}

pub(crate) async fn over_a_unix_socket(language: &Language) {
    let home = Home::new();
    let server = format!("unix:{}", home.path("remexd.sock").display());
    let daemon = Daemon::start_in(&home, &["--listen", &server]).await;
    for verb in ["run", "capture", "head"] {
        let output = finished(language.at(&server, verb, &[], &["echo", "hello"])).await;
        let (code, stdout, stderr) = told(&output);
        assert_eq!((code, &*stdout), (Some(0), "hello\n"), "{verb}: {stderr}");
    }
    daemon.stop().await;
}

//! Flags and files, read as they are typed.

use clap::Parser;

use super::*;

fn config(flags: &[&str]) -> Result<Config, ConfigError> {
    let args = ["remexd"].iter().chain(flags);
    Config::new(&Args::try_parse_from(args).unwrap())
}

#[test]
fn without_flags_the_defaults_of_the_contract_hold() {
    let config = config(&[]).unwrap();
    assert_eq!(config.listen, ["127.0.0.1:50051".parse().unwrap()]);
    let names = config.legacy.iter().map(|legacy| legacy.listener.name());
    let names: Vec<_> = names.collect();
    assert_eq!(names, ["tcp-exec", "udp-exec", "tcp-echo", "udp-echo"]);
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.max_executions, 2000);
    assert_eq!(config.ipv6.listen, ["[::1]:50051".parse().unwrap()]);
    assert_eq!(config.ipv6.legacy.len(), config.legacy.len());
    assert_eq!(config.chdir, env::current_dir().unwrap());
}

#[test]
fn nothing_stands_in_for_what_was_asked_for() {
    let config = config(&["--listen", "127.0.0.1:1", "--no-legacy"]).unwrap();
    assert!(config.ipv6.listen.is_empty() && config.ipv6.legacy.is_empty());
}

#[test]
fn a_drain_is_typed_as_any_duration() {
    assert_eq!(
        config(&["--drain-timeout", "24h"])
            .unwrap()
            .drain_timeout
            .as_secs(),
        86_400
    );
    for (text, seconds) in [("90", 90), ("1.5s", 1), ("0h1m", 60), ("1h30m", 5400)] {
        let config = config(&["--drain-timeout", text]).unwrap();
        assert_eq!(config.drain_timeout.as_secs(), seconds, "{text}");
    }
    assert!(config(&["--drain-timeout", "24h1ms"]).is_err());
    let most = config(&["--max-executions", "1048576"]).unwrap();
    assert_eq!(most.max_executions, 1_048_576);
}

#[test]
fn a_check_says_who_may_call() {
    let flags = ["--listen", "[::]:1", "--listen", "unix:/p", "--no-legacy"];
    let config = config(&[&flags[..], &["--allow-plaintext"]].concat()).unwrap();
    let users = Users::daemon().explain();
    assert_eq!(
        config.explain(),
        format!(
            "gRPC on [::]:1, for {users}, and every other machine that reaches it.\ngRPC on unix:/p, for {users}.\n"
        )
    );
}

#[test]
fn no_address_is_given_twice() {
    for (one, two, taken) in [
        ("127.0.0.1:1", "localhost:1", true),
        ("127.0.0.1:1", "[::ffff:127.0.0.1]:1", true),
        ("unix:/p", "unix:///p?mode=0660", true),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("127.0.0.1:1", "[::1]:1", false),
    ] {
        let flags = ["--listen", one, "--listen", two, "--no-legacy"];
        let text = config(&flags).err().map(|error| error.to_string());
        assert_eq!(text.is_some(), taken, "{one} {two}: {text:?}");
        assert!(text.is_none_or(|text| text.contains(two) && text.contains("listed before")));
    }
    let error = config(&["--listen", "[::ffff:127.0.0.1]:8080"]).unwrap_err();
    assert!(
        error.to_string().contains("where gRPC is served"),
        "{error}"
    );
}

#[test]
fn a_check_looks_at_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &str| config(&["--spool-dir", path]).unwrap().check();
    assert!(check(folder.path().to_str().unwrap()).is_ok());
    let error = check("/proc/none").unwrap_err().to_string();
    assert!(
        error.contains("--spool-dir") && error.contains("/proc/none"),
        "{error}"
    );
}

#[test]
fn what_is_unsafe_needs_its_flag() {
    for (flags, allow) in [
        (["--listen", "0.0.0.0:1"], "--allow-plaintext"),
        (["--legacy", "tcp://0.0.0.0:1/exec"], "--allow-plaintext"),
        (["--legacy", "udp://0.0.0.0:1/exec"], "--allow-udp-exec"),
    ] {
        let error = config(&flags).unwrap_err();
        assert!(error.to_string().contains(allow), "{error}");
        assert!(error.to_string().contains("0.0.0.0:1"), "{error}");
        assert!(config(&[flags[0], flags[1], allow]).is_ok(), "{allow}");
    }
    assert!(config(&["--legacy", "tcp://0.0.0.0:1/echo"]).is_ok());
    assert!(config(&["--legacy", "udp://0.0.0.0:1/time"]).is_ok());
}

#[test]
fn a_wrong_flag_is_named_with_its_value() {
    for flags in [
        ["--listen", "nonsense"],
        ["--legacy", "tcp://127.0.0.1:1/exec?wrie=raw"],
        ["--users", "no-such-user-here"],
        ["--drain-timeout", "soon"],
        ["--drain-timeout", "24h0.5s"],
        ["--chdir", "/nowhere"],
        ["--pass-env", "A=B"],
        ["--max-executions", "0"],
        ["--max-executions", "1048577"],
    ] {
        let error = config(&flags).unwrap_err();
        for part in flags {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}

#[test]
fn the_file_is_read_and_flags_beat_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("remexd.toml");
    std::fs::write(
        &path,
        "listen = [\"127.0.0.1:1\", \"[::1]:1\"]\nno-legacy = true\nmax-executions = 7\n",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let from_file = config(&["--config", path]).unwrap();
    assert_eq!((from_file.listen.len(), from_file.legacy.len()), (2, 0));
    assert_eq!(from_file.max_executions, 7);
    let flags = [
        "--config",
        path,
        "--listen",
        "127.0.0.1:2",
        "--legacy",
        "udp://127.0.0.1:3/echo",
    ];
    let both = config(&flags).unwrap();
    assert_eq!((both.listen.len(), both.legacy.len()), (1, 1));
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("remexd.toml");
    for (text, key) in [
        ("\nlisten = [\"nonsense\"]\n", "listen"),
        ("\nlisten-on = \"x\"\n", "listen-on"),
        ("\nlegacy = [\"tcp://127.0.0.1:1/exec?wrie=raw\"]\n", "wrie"),
        ("\nmax-executions = 0\n", "max-executions"),
        ("\ndrain-timeout = \"soon\"\n", "drain-timeout"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = config(&["--config", path.to_str().unwrap()]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("remexd.toml:2"), "{message}");
        assert!(message.contains(key), "{message}");
    }
}

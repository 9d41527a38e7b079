//! What is typed wrong: the line, the one line that is printed of it, and the exit code, which is 255 always.

use std::{ffi::OsStr, fs::File, os::unix::ffi::OsStrExt};

use super::{remex, result};
use crate::fake::Fake;

/// Lines, split at blanks but where they are quoted, and what is said of them.
const WRONG: &[(&[&str], &str)] = &[
    (
        &["fly"],
        "unrecognized subcommand 'fly'; to run it as a program: remex run -- fly; see `remex --help`",
    ),
    (
        &["kil", "x"],
        "unrecognized subcommand 'kil', perhaps 'kill' is meant; to run it as a program: remex run -- kil; see `remex --help`",
    ),
    (&["run"], "PROGRAM is missing; see `remex run --help`"),
    (
        &["run", ""],
        "PROGRAM is empty; write what to run behind --; see `remex run --help`",
    ),
    (
        &["run", "--tineout", "3s", "x"],
        "unexpected argument '--tineout', perhaps '--timeout' is meant; see `remex run --help`",
    ),
    (
        &["run", "--timeout", "soon", "x"],
        "--timeout \"soon\" is no duration: write for example 30s, 500ms, 1h30m, 1.5s or a number of seconds; see `remex run --help`",
    ),
    (
        &["run", "--timeout=-3s", "x"],
        "--timeout \"-3s\" is no duration: write for example 30s, 500ms, 1h30m, 1.5s or a number of seconds; see `remex run --help`",
    ),
    (
        &["run", "--timeout"],
        "--timeout needs a value; see `remex run --help`",
    ),
    (
        &["run", "-tn", "x"],
        "-t cannot be used with -n; see `remex run --help`",
    ),
    (
        &["run", "--no-stdin", "-t", "x"],
        "--no-stdin cannot be used with -t; see `remex run --help`",
    ),
    (
        &["run", "-i", "-n", "x"],
        "-i cannot be used with -n; see `remex run --help`",
    ),
    (
        &["run", "--shell", "a", "--", "b"],
        "--shell cannot be used with PROGRAM; see `remex run --help`",
    ),
    (
        &["run", "--env", "=x", "y"],
        "--env \"=x\" is no variable: write NAME=VALUE, or NAME alone for the local value; see `remex run --help`",
    ),
    (
        &["run", "-e", "=x", "y"],
        "-e \"=x\" is no variable: write NAME=VALUE, or NAME alone for the local value; see `remex run --help`",
    ),
    (
        &["run", "-e", "SURELY_NOT_SET", "y"],
        "-e SURELY_NOT_SET is not set here; set it, or write -e SURELY_NOT_SET=VALUE",
    ),
    (
        &["run", "--env=SURELY_NOT_SET", "--", "x", "-e"],
        "--env SURELY_NOT_SET is not set here; set it, or write --env SURELY_NOT_SET=VALUE",
    ),
    (
        &["run", "--shell", ""],
        "--shell \"\" is empty: write what to run; see `remex run --help`",
    ),
    (
        &["run", "-u", "", "x"],
        "-u \"\" is empty: write a name, a number or UID:GID; see `remex run --help`",
    ),
    // It would run as somebody else than was meant.
    (
        &["run", "--user=", "x"],
        "--user \"\" is empty: write a name, a number or UID:GID; see `remex run --help`",
    ),
    (
        &["-t", "run", "x"],
        "-t stands behind run: remex run -t; see `remex run --help`",
    ),
    (
        &["--timeout", "3", "run", "x"],
        "--timeout stands behind run: remex run --timeout; see `remex run --help`",
    ),
    (
        &["-9", "kill", "x"],
        "unexpected argument '-9'; see `remex kill --help`",
    ),
    (
        &["--tineout", "3", "run", "x"],
        "unexpected argument '--tineout'; see `remex run --help`",
    ),
    (
        &["run", "--label", "x", "y"],
        "--label \"x\" is no label: write KEY=VALUE; see `remex run --help`",
    ),
    (
        &["run", "--label", "Foo=1", "y"],
        "--label \"Foo=1\" has a key that no label may have: write 1 to 63 characters of a-z, 0-9 and ._/-; see `remex run --help`",
    ),
    (
        &["run", "--cwd", ".", "x"],
        "--cwd \".\" is relative: write an absolute path, on the server's machine; see `remex run --help`",
    ),
    (
        &["run", "-w", ".", "x"],
        "-w \".\" is relative: write an absolute path, on the server's machine; see `remex run --help`",
    ),
    (
        &["run", "--drain", "all", "x"],
        "--drain \"all\" is none of bounded, eof; see `remex run --help`",
    ),
    (
        &["run", "-t", "x"],
        "-t needs a terminal on stdin; run it in one, or leave -t away",
    ),
    (
        &["run", "--resume", "--on-disconnect", "kill", "x"],
        "--resume cannot be used with --on-disconnect kill, which leaves nothing to go on with; see `remex run --help`",
    ),
    (
        &["run", "-d", "x"],
        "-d is not for run; write `remex start`, which leaves it running; see `remex run --help`",
    ),
    (
        &["run", "--request-id", "", "x"],
        "--request-id \"\" is no id: write 1 to 1,024 bytes, the same ones for the same run; see `remex run --help`",
    ),
    (
        &["start", "--timeout", "soon", "x"],
        "--timeout \"soon\" is no duration: write for example 30s, 500ms, 1h30m, 1.5s or a number of seconds; see `remex start --help`",
    ),
    (
        &["start", ""],
        "PROGRAM is empty; write what to run behind --; see `remex start --help`",
    ),
    (&["attach"], "ID is missing; see `remex attach --help`"),
    (
        &["ps", "--token-file", "x"],
        "--token-file: x: cannot be read: No such file or directory; see `remex ps --help`",
    ),
    (
        &["ps", "-q", "--json"],
        "-q cannot be used with --json; see `remex ps --help`",
    ),
    (
        &["ps", "x"],
        "unexpected argument 'x'; see `remex ps --help`",
    ),
    (
        &["kill", "-s", "NOPE", "x"],
        "-s \"NOPE\" is no signal: write for example TERM, SIGTERM or 15; see `remex kill --help`",
    ),
    (
        &["kill", "-NOPE", "x"],
        "SIGNAL \"-NOPE\" is no signal: write for example TERM, SIGTERM or 15; see `remex kill --help`",
    ),
    (&["kill", "-9"], "ID is missing; see `remex kill --help`"),
    (
        &["kill", "-9", "-15", "x"],
        "SIGNAL cannot be used twice; see `remex kill --help`",
    ),
    (
        &["kill", "x", "-s", "KILL", "-9"],
        "-s cannot be used twice; see `remex kill --help`",
    ),
    (
        &["kill", "x", "--sever"],
        "unexpected argument '--sever', perhaps '--server' is meant; see `remex kill --help`",
    ),
    (
        &["kill", "x", "-s"],
        "-s needs a value; see `remex kill --help`",
    ),
    (
        &["kill", "-s", "9", "--", "-x"],
        "no execution begins with \"-x\"; see `remex ps -a`",
    ),
    (
        &["kill", "nobody"],
        "no execution begins with \"nobody\"; see `remex ps -a`",
    ),
    (
        &["kill", ""],
        "an ID is empty; write one that `remex ps` shows",
    ),
    (&["wait"], "ID is missing; see `remex wait --help`"),
    (
        &["ping", "--wait", "x"],
        "--wait \"x\" is no duration: write for example 30s, 500ms, 1h30m, 1.5s or a number of seconds; see `remex ping --help`",
    ),
    (
        &["ps", "--server", "https://x", "--cert", "x"],
        "--cert: --cert and --key belong together: give both, or none; see `remex ps --help`",
    ),
    (
        &["--server", "h:99999", "ps"],
        "--server: \"h:99999\" is not HOST:PORT: write for example http://127.0.0.1:50051 or http://[::1]:50051; see `remex ps --help`",
    ),
    (
        &["legacy", "--server", "x", "h:1", "c"],
        "unexpected argument '--server'; see `remex legacy --help`",
    ),
    (
        &["--server", "localhost", "legacy", "h:1", "c"],
        "--server is no option of legacy: its server is its first argument; see `remex legacy --help`",
    ),
    (
        &["legacy", "host", "x"],
        "HOST:PORT \"host\" is no address: write HOST:PORT; see `remex legacy --help`",
    ),
    (
        &["legacy", "h:1"],
        "COMMAND is missing; see `remex legacy --help`",
    ),
    (
        &["legacy", "h:1", ""],
        "COMMAND is empty; write what to run there; see `remex legacy --help`",
    ),
    (
        &["legacy", "h:1/exec", "x"],
        "HOST:PORT \"h:1/exec\" has \"/exec\" at its end: end it after HOST:PORT, and say the wire with --wire; see `remex legacy --help`",
    ),
    (
        &["legacy", "--wire", "json", "h:1", "x"],
        "--wire \"json\" is none of json-header, length, ascii-length, raw; see `remex legacy --help`",
    ),
    (
        &["legacy", "--charset", "klingon", "h:1", "x"],
        "--charset \"klingon\" is no character set: write a label of the WHATWG's such as utf-8, gbk or shift_jis; see `remex legacy --help`",
    ),
    // An escape sequence is not obeyed, wherever it comes from.
    (
        &["run", "--timeout", "\u{1b}[2J", "x"],
        "--timeout \"\\u{1b}[2J\" is no duration: write for example 30s, 500ms, 1h30m, 1.5s or a number of seconds; see `remex run --help`",
    ),
];

#[test]
fn each_wrong_line_has_its_one_line() {
    let server = Fake::start();
    for (words, said) in WRONG {
        let (code, stdout, stderr) = result(&mut remex(&server, *words));
        assert_eq!(
            (code, &*stdout, &*stderr),
            (255, "", &*format!("remex: {said}\n")),
            "{words:?}"
        );
    }
}

#[test]
fn the_environment_is_blamed_for_what_it_says_and_empty_says_nothing() {
    let server = Fake::start();
    let (code, _, stderr) = result(remex(&server, ["ps"]).env("REMEX_SERVER", "ftp://x"));
    assert_eq!(code, 255);
    assert_eq!(
        stderr,
        "remex: REMEX_SERVER: \"ftp\" is no scheme of remex: write http://HOST:PORT, https://HOST:PORT, unix:/PATH or HOST:PORT; see `remex ps --help`\n"
    );
    let uri = server.endpoint.to_string();
    let mut command = remex(&server, ["ps", "--server", &uri]);
    assert_eq!(result(command.env("REMEX_SERVER", "")).0, 0);
    // Without its scheme, on this machine.
    let mut command = remex(&server, ["ps"]);
    command.env("REMEX_SERVER", server.endpoint.authority());
    assert_eq!(result(&mut command).0, 0);
}

#[test]
fn a_word_that_is_no_utf8_is_named() {
    let server = Fake::start();
    let word = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    for (words, said) in [
        (
            [word(b"run"), word(b"--cwd"), word(b"/\xff"), word(b"x")],
            r#""/\xff" is not UTF-8, as it has to be here; see `remex run --help`"#,
        ),
        (
            [word(b"kill"), word(b"-9"), word(b"a"), word(b"b\xc3")],
            r#""b\xc3" is not UTF-8, as it has to be here; see `remex kill --help`"#,
        ),
    ] {
        let (code, _, stderr) = result(&mut remex(&server, &words));
        assert_eq!((code, &*stderr), (255, &*format!("remex: {said}\n")));
    }
}

#[test]
fn options_of_kill_stand_before_and_behind_its_ids() {
    let server = Fake::start();
    let uri = server.endpoint.to_string();
    for words in [
        &["kill", "-9", "nobody"][..],
        &["kill", "nobody", "-9"],
        &["kill", "nobody", "-s", "KILL"],
        &["kill", "nobody", "--signal=9"],
        &["kill", "-9", "--", "nobody"],
        &["kill", "nobody", "--server", &uri, "-KILL"],
    ] {
        let mut command = remex(&server, words);
        let (code, _, stderr) = result(&mut command);
        let said = "remex: no execution begins with \"nobody\"; see `remex ps -a`\n";
        assert_eq!((code, &*stderr), (255, said), "{words:?}");
    }
    for words in [["kill", "x", "--help"], ["kill", "x", "-h"]] {
        let (code, stdout, _) = result(&mut remex(&server, words));
        assert!(code == 0 && stdout.contains("remex kill"), "{stdout}");
    }
}

#[test]
fn the_version_is_asked_for_as_an_option() {
    let server = Fake::start();
    for words in [["--version"], ["-V"]] {
        let (code, stdout, stderr) = result(&mut remex(&server, words));
        let version = concat!("remex ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!((code, &*stdout, &*stderr), (0, version, ""));
    }
}

#[test]
fn bare_remex_shows_what_it_can_do() {
    let server = Fake::start();
    let (code, stdout, stderr) = result(&mut remex(&server, [""; 0]));
    assert_eq!((code, &*stderr), (0, ""));
    for verb in [
        "run", "start", "attach", "logs", "ps", "wait", "kill", "rm", "echo", "ping", "legacy",
        "version",
    ] {
        let mut lines = stdout.lines().map(str::trim);
        assert!(lines.any(|line| line.starts_with(verb)), "{verb}: {stdout}");
    }
}

#[test]
fn help_that_cannot_be_printed_is_a_failure() {
    let server = Fake::start();
    for words in [&["--help"][..], &["run", "-h"], &["version"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (code, _, stderr) = result(remex(&server, words).stdout(full));
        assert_eq!((code, stderr.lines().count()), (255, 1), "{stderr}");
    }
}

#[test]
fn the_help_of_run_is_short_and_its_long_help_has_the_shape_of_json() {
    let server = Fake::start();
    for option in ["-h", "--help"] {
        let (code, stdout, _) = result(&mut remex(&server, ["run", option]));
        assert_eq!(code, 0);
        assert!(!stdout.contains("data_base64"), "{stdout}");
        assert!(stdout.contains("remex help run"), "{stdout}");
    }
    let (code, stdout, _) = result(&mut remex(&server, ["help", "run"]));
    assert_eq!(code, 0);
    let line = "  started  execution_id, pid";
    assert!(stdout.lines().any(|shown| shown == line), "{stdout}");
    let schema = stdout.split_once("With --json").expect("the shape").1;
    assert!(schema.lines().all(|line| line.len() < 80), "{schema}");
    assert!(schema.contains("max_rss_bytes (or null)"), "{schema}");
}

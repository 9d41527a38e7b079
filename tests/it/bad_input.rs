//! What is refused, each with an answer of a type that a program can act on and words that a person can.

use std::{fs, os::unix::fs::PermissionsExt};

use remex::{
    error::Reason::{
        self, CommandTooLarge, ExecutionNotFound, InvalidCommand, InvalidField,
        ProgramNotExecutable, ProgramNotFound, UserNotFound, WorkingDirectoryNotFound as Directory,
    },
    v1::{
        self, Command, Execution, ListRequest, RunRequest, SignalRequest, StartRequest,
        WaitRequest, execution,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Daemon, Home, soon};

/// One byte more than exec takes.
const TOO_LONG: usize = 128 * 1024;

pub(crate) fn argv(words: &[&str]) -> Command {
    Command {
        argv: words.iter().map(|&word| word.to_owned()).collect(),
        ..Command::default()
    }
}

pub(crate) fn environment(name: &str, value: &str) -> Command {
    Command {
        environment: [(name.to_owned(), value.to_owned())].into(),
        ..argv(&["true"])
    }
}

pub(crate) fn directory(path: &str) -> Command {
    Command {
        working_directory: path.to_owned(),
        ..argv(&["true"])
    }
}

/// Asserts that Run and Start alike refuse `command` for `reason`, and say which of its fields is wrong.
pub(crate) async fn assert_refused(daemon: &Daemon, command: Command, reason: Reason, words: &str) {
    let mut exec = daemon.client().await.exec();
    let run = RunRequest {
        command: Some(command.clone()),
        ..RunRequest::default()
    };
    let start = StartRequest {
        command: Some(command),
        ..StartRequest::default()
    };
    let refused = [
        soon("a refusal", exec.run(run)).await.unwrap_err(),
        soon("a refusal", exec.start(start)).await.unwrap_err(),
    ];
    for status in refused {
        assert_status(&status, reason, words);
    }
}

#[track_caller]
pub(crate) fn assert_status(status: &Status, reason: Reason, words: &str) {
    assert_eq!(Reason::of(status), Some(reason), "{status}");
    assert_eq!(status.code(), reason.code(), "{status}");
    assert!(status.message().contains(words), "no {words:?}: {status}");
    if reason.code() == Code::InvalidArgument {
        let fields = status
            .get_details_bad_request()
            .map(|bad| bad.field_violations);
        assert!(
            fields.is_some_and(|fields| !fields.is_empty()),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn commands_that_cannot_be() {
    let daemon = Daemon::start(&[]).await;
    let both = Command {
        shell: "true".to_owned(),
        ..argv(&["true"])
    };
    let raw = Command {
        argv_raw: vec!["true".into()],
        ..argv(&["true"])
    };
    let long = "x".repeat(TOO_LONG);
    let shell = Command {
        shell: format!(": {long}"),
        ..Command::default()
    };
    for (command, reason, words) in [
        (Command::default(), InvalidCommand, "command"),
        (argv(&[""]), InvalidCommand, "argv[0]"),
        (both, InvalidCommand, "more than one"),
        (raw, InvalidCommand, "more than one"),
        (argv(&["echo", "a\0b"]), InvalidCommand, "argv[1]"),
        (argv(&["echo", &long]), CommandTooLarge, "argv[1]"),
        (shell, CommandTooLarge, "shell"),
        (environment("", "x"), InvalidField, "environment"),
        (environment("A=B", "x"), InvalidField, "A=B"),
        (environment("A\0", "x"), InvalidField, "environment"),
        (environment("NAME", "a\0b"), InvalidField, "NAME"),
        (environment("NAME", &long), CommandTooLarge, "NAME"),
        (directory("here"), InvalidField, "working_directory"),
        (directory("/a\0b"), InvalidField, "working_directory"),
    ] {
        assert_refused(&daemon, command, reason, words).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn what_is_not_there() {
    let daemon = Daemon::start(&[]).await;
    let file = daemon.home().path("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    let folder = daemon.home().folder().to_str().unwrap();
    let garbage = daemon.home().path("garbage");
    fs::write(&garbage, "\x7fELF, it says").unwrap();
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).unwrap();
    let garbage = garbage.to_str().unwrap();
    let user = Command {
        user: "no-such-user-here".to_owned(),
        ..argv(&["true"])
    };
    for (command, reason, words) in [
        (
            argv(&["no-such-program"]),
            ProgramNotFound,
            "no-such-program",
        ),
        (argv(&["/no/such/program"]), ProgramNotFound, "/no/such"),
        (argv(&["./no-such"]), ProgramNotFound, "./no-such"),
        (argv(&[file]), ProgramNotExecutable, file),
        (argv(&[folder]), ProgramNotExecutable, folder),
        (argv(&[garbage]), ProgramNotExecutable, garbage),
        (directory("/no/such/folder"), Directory, "/no/such/folder"),
        (directory(file), Directory, file),
        (user, UserNotFound, "no-such-user-here"),
    ] {
        assert_refused(&daemon, command, reason, words).await;
    }
    daemon.stop().await;
}

/// In every enum, an unknown number is refused and never taken for the default.
#[tokio::test]
async fn unknown_numbers() {
    let daemon = Daemon::start(&[]).await;
    let mut exec = daemon.client().await.exec();
    let on_disconnect = RunRequest {
        command: Some(argv(&["true"])),
        on_disconnect: 99,
        ..RunRequest::default()
    };
    let keep = RunRequest {
        command: Some(argv(&["true"])),
        keep: Some(v1::Keep {
            on_full: 99,
            ..v1::Keep::default()
        }),
        ..RunRequest::default()
    };
    let drain = RunRequest {
        command: Some(Command {
            drain: 99,
            ..argv(&["true"])
        }),
        ..RunRequest::default()
    };
    let network = RunRequest {
        command: Some(Command {
            isolation: Some(v1::Isolation {
                network: 99,
                ..v1::Isolation::default()
            }),
            ..argv(&["true"])
        }),
        ..RunRequest::default()
    };
    for (request, field) in [
        (on_disconnect, "on_disconnect"),
        (keep, "on_full"),
        (drain, "command.drain"),
        (network, "command.isolation.network"),
    ] {
        let status = exec.run(request).await.unwrap_err();
        assert_status(&status, InvalidField, field);
        assert!(status.message().contains("99"), "{status}");
    }
    let states = ListRequest {
        states: vec![99],
        ..ListRequest::default()
    };
    let status = exec.list(states).await.unwrap_err();
    assert_status(&status, InvalidField, "states");
    daemon.stop().await;
}

/// Numbers of signals are the kernel's: those that it has pass, others do not.
#[tokio::test]
async fn unknown_signals() {
    let daemon = Daemon::start(&[]).await;
    let mut exec = daemon.client().await.exec();
    let request = StartRequest {
        command: Some(argv(&["sleep", "3600"])),
        ..StartRequest::default()
    };
    let mut events = exec.start(request).await.unwrap().into_inner();
    events.message().await.unwrap();
    let list = exec
        .list(ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    let [Execution { execution_id, .. }] = &list.executions[..] else {
        panic!("{list:?}")
    };
    let send = |signal| SignalRequest {
        execution_id: execution_id.clone(),
        signal,
    };
    for signal in [0, -1, 65, 99] {
        let status = exec.signal(send(signal)).await.unwrap_err();
        assert_status(&status, InvalidField, "signal");
    }
    // SIGRTMAX.
    exec.signal(send(64)).await.unwrap();
    let wait = WaitRequest {
        execution_id: execution_id.clone(),
        timeout: None,
    };
    let ended = soon("the end", exec.wait(wait)).await.unwrap().into_inner();
    let execution = ended.execution.unwrap();
    assert_eq!(execution.state(), execution::State::Ended);
    assert_eq!(execution.exit.unwrap().signal, 64);
    daemon.stop().await;
}

#[tokio::test]
async fn executions_that_are_not_there() {
    let daemon = Daemon::start(&[]).await;
    let mut exec = daemon.client().await.exec();
    for id in ["nonsense", "01a20645-903a-7a60-9c4e-5b8a7f1f2c3d"] {
        let request = WaitRequest {
            execution_id: id.to_owned(),
            timeout: None,
        };
        let status = exec.wait(request).await.unwrap_err();
        assert_status(&status, ExecutionNotFound, id);
    }
    daemon.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let first = Daemon::start(&["--legacy", "tcp://127.0.0.1:0/echo"]).await;
    let (grpc, echo) = (first.socket("grpc"), first.socket("tcp-echo"));
    for (flag, value, port) in [
        ("--listen", grpc.to_string(), grpc.port()),
        ("--legacy", format!("tcp://{echo}/echo"), echo.port()),
    ] {
        let refusal = Home::new().refused(&[flag, &value]).await;
        refusal.assert(69, &[&port.to_string(), flag]);
    }
    first.stop().await;
}

#[tokio::test]
async fn a_state_folder_that_is_taken() {
    let first = Daemon::start(&[]).await;
    let refusal = first.home().refused(&[]).await;
    let holder = first.pid().as_raw_nonzero().to_string();
    refusal.assert(69, &[&holder, "--state-dir"]);
    first.stop().await;
}

#[tokio::test]
async fn a_state_folder_that_others_may_read() {
    let home = Home::new();
    let state = home.path("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o750)).unwrap();
    let refusal = home.refused(&[]).await;
    refusal.assert(69, &[state.to_str().unwrap(), "700"]);
}

#[tokio::test]
async fn flags_that_mean_nothing() {
    let home = Home::new();
    for (flags, parts) in [
        (
            ["--legacy", "tcp://127.0.0.1:0/exec?wrie=raw"],
            ["wrie", "--legacy"],
        ),
        (["--legacy", "tcp://127.0.0.1:0/exce"], ["exce", "--legacy"]),
        (["--listen", "127.0.0.1"], ["127.0.0.1", "--listen"]),
        (
            ["--listen", "127.0.0.1:65536"],
            ["127.0.0.1:65536", "--listen"],
        ),
        (
            ["--listen", "0.0.0.0:0"],
            ["0.0.0.0:0", "--allow-plaintext"],
        ),
        (["--listen", "[::]:0"], ["[::]:0", "--allow-plaintext"]),
        (
            ["--legacy", "tcp://0.0.0.0:0/exec"],
            ["0.0.0.0:0", "--allow-plaintext"],
        ),
        (
            ["--legacy", "udp://0.0.0.0:0/exec"],
            ["0.0.0.0:0", "--allow-udp-exec"],
        ),
        (
            ["--users", "no-such-user-here"],
            ["no-such-user-here", "--users"],
        ),
        (["--no-such-flag", "x"], ["--no-such-flag", "--help"]),
    ] {
        home.refused(&flags).await.assert(64, &parts);
    }
    assert!(!home.path("state").exists(), "nothing was bound or made");
}

#[tokio::test]
async fn files_that_mean_nothing() {
    let home = Home::new();
    let file = home.path("remexd.toml");
    for (text, parts) in [
        (
            "listen = [\"127.0.0.1:0\"]\nlisten-on = 1\n",
            ["remexd.toml:2", "listen-on"],
        ),
        ("\n\nlisten = 7\n", ["remexd.toml:3", "listen"]),
        ("listen = [\n", ["remexd.toml:1", "array"]),
        (
            "legacy = [\n  \"tcp://127.0.0.1:0/echo\",\n  \"tcp://127.0.0.1:0/exec?wrie=raw\",\n]\n",
            ["remexd.toml:3", "wrie"],
        ),
    ] {
        fs::write(&file, text).unwrap();
        let refusal = home.refused(&["--config", file.to_str().unwrap()]).await;
        refusal.assert(64, &parts);
    }
    let missing = home.path("missing.toml");
    let missing = missing.to_str().unwrap();
    home.refused(&["--config", missing])
        .await
        .assert(64, &[missing]);
}

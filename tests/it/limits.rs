//! Every bound that a caller can meet: what is at it passes, what is past it gets an answer, and the server goes on.

use std::{collections::HashMap, time::Duration};

use remex::{
    error::Reason,
    v1::{
        Command, EchoStreamRequest, RunRequest, RunResponse, StartRequest,
        echo_stream_request::Content,
    },
};
use remex_client::Client;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tonic::{Code, Request, Status, metadata::MetadataValue};
use tonic_types::StatusExt;

use crate::harness::{
    Daemon,
    http2::{Frames, framed},
    soon,
};

const MIB: usize = 1024 * 1024;

/// One argument or variable, as the kernel takes it.
const STRING_BYTES: usize = 128 * 1024 - 1;

/// Arguments and variables of one command.
const STRINGS: usize = 65_536;

fn shell(text: impl Into<String>) -> RunRequest {
    request(Command {
        shell: text.into(),
        ..Command::default()
    })
}

fn argv(argv: Vec<String>) -> RunRequest {
    request(Command {
        argv,
        ..Command::default()
    })
}

fn request(command: Command) -> RunRequest {
    RunRequest {
        command: Some(command),
        ..RunRequest::default()
    }
}

async fn run(client: &Client, request: RunRequest) -> Result<RunResponse, Status> {
    let answer = soon("a run", client.exec().run(request)).await;
    answer.map(tonic::Response::into_inner)
}

/// Asserts that `at` runs and that `past` is refused for `reason`.
async fn assert_bound(client: &Client, at: RunRequest, past: RunRequest, reason: Reason) {
    let ran = run(client, at).await.unwrap();
    assert_eq!(ran.exit.unwrap().code, Some(0));
    let status = run(client, past).await.unwrap_err();
    assert_eq!(Reason::of(&status), Some(reason), "{status}");
}

/// PITFALLS 52: 200,000 empty arguments, 50,000 variables.
#[tokio::test]
async fn commands() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let word = |bytes| argv(vec!["true".into(), "x".repeat(bytes)]);
    let words = |count| argv([vec!["true".into()], vec!["x".repeat(100_000); count]].concat());
    let variable = |bytes| {
        request(Command {
            argv: vec!["true".into()],
            environment: [("NAME".into(), "x".repeat(bytes - "NAME=".len()))].into(),
            ..Command::default()
        })
    };
    // "true" is one of them.
    let empty = |count: usize| argv([vec!["true".into()], vec![String::new(); count - 1]].concat());
    let variables = |count| {
        let named = |number: usize| (format!("N{number}"), String::new());
        request(Command {
            argv: vec!["true".into()],
            environment: (0..count).map(named).collect(),
            ..Command::default()
        })
    };
    for (at, past) in [
        (word(STRING_BYTES), word(STRING_BYTES + 1)),
        (variable(STRING_BYTES), variable(STRING_BYTES + 1)),
        // The kernel takes a quarter of the stack's limit, at most 6 MiB and mostly 2 MiB.
        (words(15), words(40)),
        (empty(STRINGS), empty(STRINGS + 1)),
        (variables(50_000), variables(STRINGS)),
    ] {
        assert_bound(&client, at, past, Reason::CommandTooLarge).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn labels() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let labelled = |labels: HashMap<String, String>| RunRequest {
        labels,
        ..shell("true")
    };
    let number =
        |count: usize| labelled((0..count).map(|n| (n.to_string(), String::new())).collect());
    let key = |bytes| labelled([("k".repeat(bytes), String::new())].into());
    let value = |bytes| labelled([("key".into(), "v".repeat(bytes))].into());
    for (at, past) in [
        (number(32), number(33)),
        (key(63), key(64)),
        (key(1), key(0)),
        (value(256), value(257)),
    ] {
        assert_bound(&client, at, past, Reason::InvalidField).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn requests() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let stdin = |bytes| RunRequest {
        stdin_data: vec![b'x'; bytes].into(),
        ..shell("wc -c")
    };
    let ran = run(&client, stdin(4 * MIB - 1024)).await.unwrap();
    assert_eq!(ran.stdout_data, format!("{}\n", 4 * MIB - 1024));
    let status = run(&client, stdin(4 * MIB)).await.unwrap_err();
    assert_eq!(
        Reason::of(&status),
        Some(Reason::MessageTooLarge),
        "{status}"
    );
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    // It says how to send more.
    assert!(status.message().contains("chunks"), "{status}");
    assert!(run(&client, shell("true")).await.is_ok());
    daemon.stop().await;
}

#[tokio::test]
async fn headers() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let with_header = |bytes| {
        let mut request = Request::new(shell("true"));
        let value = MetadataValue::try_from("x".repeat(bytes)).unwrap();
        request.metadata_mut().insert("x-filler", value);
        let mut exec = client.exec();
        async move { soon("an answer", exec.run(request)).await }
    };
    // 16 KiB with all that a call has, each with 32 bytes more, as HTTP/2 counts.
    assert!(with_header(15 * 1024).await.is_ok());
    for bytes in [16 * 1024, 64 * 1024] {
        assert!(with_header(bytes).await.is_err(), "{bytes}");
    }
    assert!(run(&client, shell("true")).await.is_ok());
    daemon.stop().await;
}

#[tokio::test]
async fn executions_at_once() {
    let daemon = Daemon::start(&["--max-executions", "2"]).await;
    let client = daemon.client().await;
    let mut running = Vec::new();
    for _ in 0..2 {
        let request = StartRequest {
            command: shell("cat").command,
            stdin_open: true,
            ..StartRequest::default()
        };
        let mut events = client.exec().start(request).await.unwrap().into_inner();
        events.message().await.unwrap();
        running.push(events);
    }
    let status = run(&client, shell("true")).await.unwrap_err();
    assert_eq!(Reason::of(&status), Some(Reason::TooManyExecutions));
    assert_eq!(status.code(), Code::ResourceExhausted);
    let retry = status.get_details_retry_info().unwrap().retry_delay;
    assert!(retry.is_some_and(|delay| delay > Duration::ZERO));
    // Its last caller gone, one of them is killed, and makes room.
    running.pop();
    soon("room", async {
        while let Err(status) = run(&client, shell("true")).await {
            assert_eq!(Reason::of(&status), Some(Reason::TooManyExecutions));
        }
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn output_of_a_unary_call() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let both = "head -c $N /dev/zero; head -c $N /dev/zero >&2";
    for (asked, cap) in [(0, MIB), (1, 1), (16 * MIB, 16 * MIB)] {
        for written in [cap, cap + 1] {
            let request = RunRequest {
                max_output_bytes: asked as u64,
                ..shell(both.replace("$N", &written.to_string()))
            };
            let ran = run(&client, request).await.unwrap();
            for (data, total, truncated) in [
                (
                    ran.stdout_data,
                    ran.stdout_bytes_total,
                    ran.stdout_truncated,
                ),
                (
                    ran.stderr_data,
                    ran.stderr_bytes_total,
                    ran.stderr_truncated,
                ),
            ] {
                assert_eq!(data.len(), cap);
                assert_eq!(total, written as u64);
                assert_eq!(truncated, written > cap);
            }
            // The command is not killed for it.
            assert_eq!(ran.exit.unwrap().code, Some(0));
        }
    }
    let past = RunRequest {
        max_output_bytes: 16 * MIB as u64 + 1,
        ..shell("true")
    };
    let status = run(&client, past).await.unwrap_err();
    assert_eq!(Reason::of(&status), Some(Reason::InvalidField), "{status}");
    daemon.stop().await;
}

/// The cap counts what is sent, and never cuts a character.
#[tokio::test]
async fn output_as_text() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    for (cap, written, sent, truncated) in [
        (5, r"a\303\251\303\251", "aéé", false),
        (4, r"a\303\251\303\251", "aé", true),
        (6, r"\377\377", "\u{fffd}\u{fffd}", false),
        (5, r"\377\377", "\u{fffd}", true),
    ] {
        let request = RunRequest {
            text: true,
            max_output_bytes: cap,
            ..shell(format!("printf '{written}'"))
        };
        let ran = run(&client, request).await.unwrap();
        assert_eq!(
            (ran.stdout_text.as_str(), ran.stdout_truncated),
            (sent, truncated)
        );
    }
    daemon.stop().await;
}

/// Those that say nothing are closed after a while, so they keep nobody out for longer.
#[tokio::test]
async fn connections_at_once() {
    const CONNECTIONS: usize = 4096;
    raise_open_files();
    let daemon = Daemon::start(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..=CONNECTIONS {
        silent.push(TcpStream::connect(daemon.socket("grpc")).await.unwrap());
    }
    let client = Client::connect_lazy(&daemon.endpoint());
    soon("a connection", async {
        while run(&client, shell("true")).await.is_err() {}
    })
    .await;
    assert!(daemon.open_files() <= CONNECTIONS + 100);
    drop(silent);
    daemon.stop().await;
}

/// A stream beyond those that a connection may have at once is refused by itself, and was never run.
#[tokio::test]
async fn streams_at_once() {
    const STREAMS: usize = 1024;
    let daemon = Daemon::start(&[]).await;
    let mut frames = Frames::connect(&daemon).await;
    let message = EchoStreamRequest {
        content: Some(Content::Text("here".to_owned())),
    };
    let mut open = || {
        let stream = frames.headers("/remex.v1.EchoService/EchoStream", false);
        frames.data(stream, &framed(&message), false);
        stream
    };
    let last = (0..STREAMS).map(|_| open()).last().unwrap();
    let beyond = open();
    frames.flush().await;
    assert!(frames.has_reset_of(beyond).await);
    // Those before it go on, and one that ends makes room.
    frames.data(last, &framed(&message), true);
    frames.flush().await;
    assert!(frames.has_data_of(last).await);
    daemon.stop().await;
}

/// The soft limit is mostly 1024.
pub(crate) fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

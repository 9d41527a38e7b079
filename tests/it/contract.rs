//! What the .proto says of fields and errors, held against the server.

use remex::{
    error::Reason::{
        ExecutionNotFound, InvalidField, ProgramNotFound, UserNotFound,
        WorkingDirectoryNotFound as Directory,
    },
    v1::{self, Command, ListRequest, RunRequest, StartRequest, WaitRequest},
};

use crate::{
    bad_input::{argv, assert_refused, assert_status, directory, environment},
    calls::assert_error,
    harness::{Daemon, http2::Http2, soon},
};

/// What only a durable execution can have is refused where there is none, never ignored.
#[tokio::test]
async fn fields_of_durable_executions() {
    let daemon = Daemon::start(&[]).await;
    let mut exec = daemon.client().await.exec();
    let start = || StartRequest {
        command: Some(argv(&["true"])),
        ..StartRequest::default()
    };
    let grace = v1::OnDisconnect::Grace.into();
    let kill = v1::OnDisconnect::Kill.into();
    let minute = || prost_types::Duration {
        seconds: 60,
        nanos: 0,
    };
    for (request, field) in [
        (
            StartRequest {
                disconnect_grace: Some(minute()),
                ..start()
            },
            "disconnect_grace",
        ),
        (
            StartRequest {
                request_id: "mine".into(),
                on_disconnect: kill,
                disconnect_grace: Some(minute()),
                ..start()
            },
            "disconnect_grace",
        ),
        (
            StartRequest {
                on_disconnect: grace,
                disconnect_grace: Some(prost_types::Duration {
                    seconds: -1,
                    nanos: 0,
                }),
                ..start()
            },
            "disconnect_grace",
        ),
        (
            StartRequest {
                keep: Some(v1::Keep::default()),
                ..start()
            },
            "keep",
        ),
        (
            StartRequest {
                request_id: "mine".into(),
                keep: Some(v1::Keep {
                    on_full: 77,
                    ..v1::Keep::default()
                }),
                ..start()
            },
            "keep.on_full",
        ),
        (
            StartRequest {
                on_disconnect: 77,
                ..start()
            },
            "on_disconnect",
        ),
        (
            StartRequest {
                request_id: "x".repeat(1025),
                ..start()
            },
            "request_id",
        ),
    ] {
        let status = exec.start(request).await.map(drop).unwrap_err();
        assert_status(&status, InvalidField, field);
    }
    let run = RunRequest {
        command: Some(argv(&["true"])),
        on_disconnect: grace,
        ..RunRequest::default()
    };
    let status = exec.run(run).await.unwrap_err();
    assert_status(&status, InvalidField, "request_id");
    let by_request_id = v1::GetRequest {
        request_id: "mine".into(),
        ..v1::GetRequest::default()
    };
    let status = exec.get(by_request_id).await.unwrap_err();
    assert_eq!(remex::error::Reason::of(&status), Some(ExecutionNotFound));
    daemon.stop().await;
}

/// PITFALLS 52: from 0 to protobuf's longest they are taken without overflow; others are no durations.
#[tokio::test]
async fn durations() {
    const LONGEST: i64 = 315_576_000_000;
    let daemon = Daemon::start(&[]).await;
    let mut exec = daemon.client().await.exec();
    let of = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let timed = |timeout| Command {
        timeout,
        ..argv(&["true"])
    };
    for seconds in [0, 1, i64::from(u32::MAX), LONGEST] {
        let request = RunRequest {
            command: Some(timed(of(seconds, 0))),
            ..RunRequest::default()
        };
        let ran = soon("a run", exec.run(request)).await.unwrap().into_inner();
        assert_eq!(ran.exit.unwrap().code, Some(0), "{seconds}");
        let list = exec
            .list(ListRequest::default())
            .await
            .unwrap()
            .into_inner();
        let wait = WaitRequest {
            execution_id: list.executions[0].execution_id.clone(),
            timeout: of(seconds, 0),
        };
        soon("a wait", exec.wait(wait)).await.unwrap();
        let start = StartRequest {
            command: Some(timed(of(seconds, 0))),
            keepalive_interval: of(seconds, 0),
            ..StartRequest::default()
        };
        let mut events = exec.start(start).await.unwrap().into_inner();
        while soon("an event", events.message()).await.unwrap().is_some() {}
    }
    for bad in [
        of(-1, 0),
        of(0, -1),
        of(LONGEST, 1),
        of(LONGEST + 1, 0),
        of(i64::MAX, 999_999_999),
        of(i64::MIN, -1),
        of(i64::MIN, 0),
        of(0, i32::MAX),
        of(0, i32::MIN),
    ] {
        let kill_after = Command {
            kill_after: bad,
            ..argv(&["true"])
        };
        let cpu_time = Command {
            limits: Some(v1::Limits {
                cpu_time: bad,
                ..v1::Limits::default()
            }),
            ..argv(&["true"])
        };
        for (command, field) in [
            (timed(bad), "command.timeout"),
            (kill_after, "command.kill_after"),
            (cpu_time, "command.limits.cpu_time"),
        ] {
            assert_refused(&daemon, command, InvalidField, field).await;
        }
        let start = StartRequest {
            command: Some(argv(&["true"])),
            keepalive_interval: bad,
            ..StartRequest::default()
        };
        let status = exec.start(start).await.unwrap_err();
        assert_status(&status, InvalidField, "keepalive_interval");
    }
    daemon.stop().await;
}

/// PITFALLS 52: a client takes 8 KiB of headers; an error with more of them reads as overload there.
#[tokio::test]
async fn pitfall_52_errors_fit_their_clients() {
    let daemon = Daemon::start(&[]).await;
    let mut http2 = Http2::connect(&daemon).await;
    let long = |text: &str| text.repeat(100_000 / text.len());
    let path = format!("/{}", long("é/"));
    let searched = Command {
        environment: [("PATH".to_owned(), long("/\u{1}:"))].into(),
        ..argv(&[&long("\u{2}")])
    };
    let user = Command {
        user: long("€"),
        ..argv(&["true"])
    };
    let run = |command| RunRequest {
        command: Some(command),
        ..RunRequest::default()
    };
    for (command, reason) in [
        (argv(&[&long("x")]), ProgramNotFound),
        (argv(&[&path]), ProgramNotFound),
        (searched, ProgramNotFound),
        (directory(&path), Directory),
        (user, UserNotFound),
        (environment(&long("=\""), "x"), InvalidField),
    ] {
        assert_error(&http2.call("Run", &run(command)).await, reason);
    }
    let labelled = RunRequest {
        labels: [(long("é"), String::new())].into(),
        ..run(argv(&["true"]))
    };
    assert_error(&http2.call("Run", &labelled).await, InvalidField);
    let wait = WaitRequest {
        execution_id: long("\""),
        timeout: None,
    };
    assert_error(&http2.call("Wait", &wait).await, ExecutionNotFound);
    daemon.stop().await;
}

/// It tells what there is, and bounds that hold.
#[tokio::test]
async fn what_the_server_is() {
    let daemon = Daemon::start(&["--max-executions", "7"]).await;
    let mut exec = daemon.client().await.exec();
    let info = exec.get_server_info(v1::GetServerInfoRequest {}).await;
    let info = soon("an answer", async { info })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.version, remex::VERSION);
    assert!(info.features.is_sorted());
    for feature in [
        "drain",
        "durable",
        "isolation",
        "limits",
        "refused",
        "terminal",
        "tokens",
        "user",
    ] {
        assert!(info.features.iter().any(|name| name == feature), "{info:?}");
    }
    assert!(!info.containment.is_empty());
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let expected = v1::ServerLimits {
        max_request_bytes: 4 * 1024 * 1024,
        max_header_bytes: 16 * 1024,
        max_connection_streams: 1024,
        max_connections: 4096,
        max_executions: 7,
        max_string_bytes: 131_071,
        max_strings: 65_536,
        max_labels: 32,
        max_label_key_bytes: 63,
        max_label_value_bytes: 256,
        default_output_bytes: 1024 * 1024,
        max_output_bytes: 16 * 1024 * 1024,
        max_kill_after: seconds(60),
        ended_record_age: seconds(600),
        max_ended_records: 1000,
        max_page_size: 1000,
    };
    assert_eq!(info.limits.unwrap(), expected);
    daemon.stop().await;
}

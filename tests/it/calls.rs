//! What is a call, what becomes of one that cannot be read, and when its caller has gone: on the wire, below any library.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use remex::{
    error::Reason,
    v1::{self, GetServerInfoRequest, RunRequest, StartRequest, WaitRequest, event::Kind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, codec::CompressionEncoding};

use crate::harness::{
    Daemon, Marker, eventually,
    http2::{Answer, Frames, Http2, framed},
    soon,
};

const RUN: &str = "/remex.v1.ExecService/Run";
const START: &str = "/remex.v1.ExecService/Start";
const INTERACT: &str = "/remex.v1.ExecService/Interact";

fn run(text: impl Into<String>) -> RunRequest {
    RunRequest {
        command: Some(v1::Command {
            shell: text.into(),
            ..v1::Command::default()
        }),
        ..RunRequest::default()
    }
}

fn start(text: impl Into<String>) -> StartRequest {
    StartRequest {
        command: run(text).command,
        ..StartRequest::default()
    }
}

/// A request for Run, with other headers than a call has.
fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"));
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    request.body(()).unwrap()
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

#[track_caller]
pub(crate) fn assert_error(answer: &Answer, reason: Reason) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let code = i32::from(reason.code()).to_string();
    assert_eq!(answer.get("grpc-status"), Some(&code[..]), "{answer:?}");
    assert_eq!(
        answer.get("remex-reason"),
        Some(reason.as_str()),
        "{answer:?}"
    );
    assert!(
        answer.get("grpc-status-details-bin").is_some(),
        "{answer:?}"
    );
    assert_eq!(answer.get("remex-version"), Some(remex::VERSION));
}

#[tokio::test]
async fn pitfall_56_what_is_no_call_of_grpc_runs_nothing() {
    let daemon = Daemon::start(&[]).await;
    let mut http2 = Http2::connect(&daemon).await;
    let trace = daemon.home().path("trace");
    let body = framed(&run(format!("echo x >>{}", trace.display())));
    for (method, headers, status) in [
        ("GET", &[GRPC][..], 405),
        ("PUT", &[GRPC], 405),
        ("OPTIONS", &[GRPC], 405),
        ("POST", &[], 415),
        ("POST", &[("content-type", "text/plain")], 415),
        (
            "POST",
            &[("content-type", "application/x-www-form-urlencoded")],
            415,
        ),
        (
            "POST",
            &[("content-type", "application/grpc-web+proto")],
            415,
        ),
        ("POST", &[("content-type", "application/grpc+json")], 415),
        ("POST", &[GRPC, ("content-type", "text/plain")], 415),
    ] {
        let answer = http2.ask(request(method, RUN, headers), body.clone()).await;
        assert_eq!(answer.status, status, "{method} {headers:?}");
        assert_eq!(answer.get("remex-version"), Some(remex::VERSION));
        assert_eq!(answer.get("allow"), (status == 405).then_some("POST"));
        assert_eq!(answer.get("content-type"), Some("text/plain"));
        let said = String::from_utf8_lossy(&answer.data);
        assert!(said.contains("neither gRPC-Web nor JSON"), "{said:?}");
    }
    assert!(!trace.exists());
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
    ] {
        let headers = [("content-type", content_type)];
        let answer = http2
            .ask(request("POST", RUN, &headers), body.clone())
            .await;
        assert_eq!(answer.get("grpc-status"), Some("0"), "{answer:?}");
        assert_eq!(answer.get("remex-version"), Some(remex::VERSION));
    }
    assert_eq!(std::fs::read(trace).unwrap(), b"x\nx\nx\n");
    daemon.stop().await;
}

/// As a browser or a proxy sends them: gRPC-Web over HTTP/1.1, JSON, and the question whether one may.
#[tokio::test]
async fn callers_of_http_1_are_told_what_is_spoken() {
    let daemon = Daemon::start(&[]).await;
    for (method, headers) in [
        (
            "POST",
            "content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n",
        ),
        ("POST", "content-type: application/grpc-web-text\r\n"),
        ("POST", "content-type: application/json\r\n"),
        ("POST", "content-type: application/grpc\r\nte: trailers\r\n"),
        ("OPTIONS", "origin: http://console.example\r\n"),
        ("GET", ""),
    ] {
        let mut stream = TcpStream::connect(daemon.socket("grpc")).await.unwrap();
        let request = format!(
            "{method} {RUN} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        soon("an answer, and its end", read).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 "), "{request} {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        for part in ["gRPC over HTTP/2", "neither HTTP/1.1 nor gRPC-Web"] {
            assert!(body.contains(part), "{request} {answer}");
        }
    }
    daemon.stop().await;
}

/// It is answered before it is read: the body never comes.
#[tokio::test]
async fn pitfall_56_what_is_no_call_is_answered_before_its_body() {
    let daemon = Daemon::start(&[]).await;
    let stream = TcpStream::connect(daemon.socket("grpc")).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let headers = [("content-type", "text/plain")];
    let (response, _body) = sender
        .send_request(request("POST", RUN, &headers), false)
        .unwrap();
    assert_eq!(soon("an answer", response).await.unwrap().status(), 415);
    connection.abort();
    daemon.stop().await;
}

#[tokio::test]
async fn errors_of_the_library_have_reasons_too() {
    let daemon = Daemon::start(&[]).await;
    let mut http2 = Http2::connect(&daemon).await;
    let whole = framed(&run("true"));
    let utf8 = Bytes::from_static(b"\0\0\0\0\x06\x0a\x04\x1a\x02\xff\xff");
    let garbage = Bytes::from_static(b"\0\0\0\0\x03\xff\xff\xff");
    let too_large = Bytes::from_static(b"\0\x00\x40\x00\x01");
    let compressed = Bytes::from_static(b"\x01\0\0\0\x03abc");
    for (path, headers, body, reason) in [
        (RUN, &[GRPC][..], garbage.clone(), Reason::InvalidField),
        (START, &[GRPC], garbage.clone(), Reason::InvalidField),
        (INTERACT, &[GRPC], garbage, Reason::InvalidField),
        (RUN, &[GRPC], utf8, Reason::InvalidField),
        (
            RUN,
            &[GRPC],
            whole.slice(..whole.len() - 1),
            Reason::InvalidField,
        ),
        (RUN, &[GRPC], Bytes::new(), Reason::InvalidField),
        (INTERACT, &[GRPC], Bytes::new(), Reason::InvalidField),
        (
            RUN,
            &[GRPC],
            Bytes::from_static(b"\x07\0\0\0\0"),
            Reason::InvalidField,
        ),
        (RUN, &[GRPC], compressed.clone(), Reason::InvalidField),
        (
            RUN,
            &[GRPC, ("grpc-encoding", "gzip")],
            compressed,
            Reason::InvalidField,
        ),
        (RUN, &[GRPC], too_large.clone(), Reason::MessageTooLarge),
        (START, &[GRPC], too_large.clone(), Reason::MessageTooLarge),
        (INTERACT, &[GRPC], too_large, Reason::MessageTooLarge),
        (
            RUN,
            &[GRPC, ("grpc-encoding", "br")],
            whole.clone(),
            Reason::NotYet,
        ),
        (
            "/remex.v1.ExecService/Walk",
            &[GRPC],
            whole.clone(),
            Reason::NotYet,
        ),
        (
            "/remex.v2.ExecService/Run",
            &[GRPC],
            whole.clone(),
            Reason::NotYet,
        ),
    ] {
        let answer = http2.ask(request("POST", path, headers), body).await;
        assert_error(&answer, reason);
    }
    let headers = [GRPC, ("grpc-encoding", "br")];
    let answer = http2.ask(request("POST", RUN, &headers), whole).await;
    let takes = answer.get("grpc-accept-encoding").unwrap();
    assert!(takes.contains("gzip") && takes.contains("zstd"), "{takes}");
    daemon.stop().await;
}

/// The bound is on what a request unpacks to; responses are never compressed.
#[tokio::test]
async fn requests_may_be_compressed() {
    const MIB: usize = 1024 * 1024;
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut exec = client
            .exec()
            .send_compressed(encoding)
            .accept_compressed(encoding);
        let wc = |bytes| RunRequest {
            stdin_data: vec![b'x'; bytes].into(),
            ..run("wc -c")
        };
        let ran = soon("a run", exec.run(wc(3 * MIB))).await.unwrap();
        assert!(ran.metadata().get("grpc-encoding").is_none(), "{ran:?}");
        assert_eq!(ran.into_inner().stdout_data, format!("{}\n", 3 * MIB));
        for bytes in [4 * MIB, 300 * MIB] {
            let status = soon("an error", exec.run(wc(bytes))).await.unwrap_err();
            assert_eq!(
                Reason::of(&status),
                Some(Reason::MessageTooLarge),
                "{status}"
            );
        }
        let mut events = soon("a start", exec.start(start("echo out")))
            .await
            .unwrap()
            .into_inner();
        while soon("an event", events.message()).await.unwrap().is_some() {}
    }
    daemon.stop().await;
}

/// A malformed one is an error; one that has passed runs nothing; the longest is no overflow.
#[tokio::test]
async fn deadlines_are_read() {
    let daemon = Daemon::start(&[]).await;
    let mut http2 = Http2::connect(&daemon).await;
    let trace = daemon.home().path("trace");
    let body = framed(&run(format!("echo x >>{}", trace.display())));
    for timeout in ["", "1", "S", "-1S", "1s", "123456789S", "1.5S"] {
        let headers = [GRPC, ("grpc-timeout", timeout)];
        let answer = http2
            .ask(request("POST", RUN, &headers), body.clone())
            .await;
        assert_error(&answer, Reason::InvalidField);
        assert!(answer.get("grpc-message").unwrap().contains("grpc-timeout"));
    }
    for timeout in ["0H", "0m", "0n", "1n"] {
        for path in [RUN, START] {
            let headers = [GRPC, ("grpc-timeout", timeout)];
            let answer = http2
                .ask(request("POST", path, &headers), body.clone())
                .await;
            assert_eq!(answer.get("grpc-status"), Some("4"), "{answer:?}");
            assert_eq!(answer.get("remex-version"), Some(remex::VERSION));
        }
    }
    assert!(!trace.exists());
    let headers = [GRPC, ("grpc-timeout", "99999999H")];
    let answer = http2.ask(request("POST", RUN, &headers), body).await;
    assert_eq!(answer.get("grpc-status"), Some("0"), "{answer:?}");
    assert!(trace.exists());
    daemon.stop().await;
}

/// When it passes, its caller has gone: a command ends, a wait ends nothing.
#[tokio::test]
async fn a_deadline_that_passes_is_the_callers_going() {
    const DEADLINE: Duration = Duration::from_millis(700);
    let daemon = Daemon::start(&[]).await;
    let mut exec = daemon.client().await.exec();
    let timed = |message| {
        let mut request = tonic::Request::new(message);
        request.set_timeout(DEADLINE);
        request
    };
    let marker = Marker::new();
    let mut request = tonic::Request::new(run(format!("sleep {marker}")));
    request.set_timeout(DEADLINE);
    let status = soon("an end", exec.run(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    marker.is_gone().await;

    let request = timed(start(format!("echo out; exec sleep {marker}")));
    let mut events = soon("a start", exec.start(request))
        .await
        .unwrap()
        .into_inner();
    let status = loop {
        match soon("an event", events.message()).await {
            Ok(message) => assert!(message.is_some(), "it ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    marker.is_gone().await;

    // Another's wait is not the execution's caller.
    let mut events = exec
        .start(start(format!("exec sleep {marker}")))
        .await
        .unwrap()
        .into_inner();
    let first = soon("an event", events.message()).await.unwrap().unwrap();
    let Some(Kind::Started(started)) = first.event.and_then(|event| event.kind) else {
        panic!("the first event is not started");
    };
    let mut wait = tonic::Request::new(WaitRequest {
        execution_id: started.execution_id,
        timeout: None,
    });
    wait.set_timeout(DEADLINE);
    let status = soon("an end", exec.wait(wait)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    assert_eq!(marker.processes().len(), 1);
    drop(events);
    marker.is_gone().await;
    daemon.stop().await;
}

/// Also for a caller that reads nothing, so that nobody asks its stream for more.
#[tokio::test]
async fn a_deadline_passes_for_a_caller_that_does_not_read() {
    let daemon = Daemon::start(&[]).await;
    let mut http2 = Http2::connect(&daemon).await;
    let marker = Marker::new();
    let body = framed(&start(format!("yes {marker}")));
    let headers = [GRPC, ("grpc-timeout", "1S")];
    let (response, _stream) = http2.send(request("POST", START, &headers), body).await;
    let _unread = soon("an answer", response).await.unwrap();
    eventually("the command", || {
        (!marker.processes().is_empty()).then_some(())
    })
    .await;
    marker.is_gone().await;
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_67_a_call_reset_in_the_segment_in_which_it_came_does_not_run() {
    let daemon = Daemon::start(&[]).await;
    let trace = daemon.home().path("trace");
    let text = format!("echo x >>{}", trace.display());
    let interact = v1::InteractRequest {
        message: Some(v1::interact_request::Message::Start(Box::new(start(&text)))),
    };
    for _ in 0..20 {
        let mut frames = Frames::connect(&daemon).await;
        for (path, body, ends) in [
            (RUN, framed(&run(&text)), true),
            (START, framed(&start(&text)), true),
            (INTERACT, framed(&interact), false),
            (INTERACT, framed(&interact), true),
        ] {
            let stream = frames.headers(path, false);
            frames.data(stream, &body, ends);
            frames.cancel(stream);
        }
        // What comes behind them is served, so that they have been seen.
        let last = frames.headers("/remex.v1.ExecService/GetServerInfo", false);
        frames.data(last, &framed(&GetServerInfoRequest {}), true);
        frames.flush().await;
        assert!(frames.has_data_of(last).await);
    }
    let mut exec = daemon.client().await.exec();
    let listed = exec
        .list(v1::ListRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.executions, []);
    assert!(!trace.exists());
    daemon.stop().await;
}

/// To cancel is no offence, at once or one after the other.
#[tokio::test]
async fn three_thousand_cancels_leave_a_connection_as_it_is() {
    const CANCELS: usize = 3000;
    let daemon = Daemon::start(&[]).await;
    let mut frames = Frames::connect(&daemon).await;
    for _ in 0..CANCELS {
        let stream = frames.headers(RUN, false);
        frames.cancel(stream);
    }
    frames.flush().await;
    for _ in 0..CANCELS {
        let stream = frames.headers(RUN, false);
        frames.data(stream, b"\0\0\0", false);
        frames.flush().await;
        frames.cancel(stream);
        frames.flush().await;
    }
    // Bodies that cross the end of their calls.
    for _ in 0..CANCELS / 500 {
        let streams: Vec<_> = (0..500).map(|_| frames.headers("/none", false)).collect();
        frames.flush().await;
        assert!(frames.has_headers_of(streams[499]).await);
        for stream in streams {
            frames.data(stream, b"\0\0\0\0\0", true);
        }
        frames.flush().await;
    }
    let last = frames.headers(RUN, false);
    frames.data(last, &framed(&run("true")), true);
    frames.flush().await;
    assert!(frames.has_data_of(last).await);
    daemon.stop().await;
}

/// A flood of them, whose answers nobody reads, costs a bounded amount of memory, and others are served meanwhile.
#[tokio::test]
async fn a_flood_of_resets_is_bounded() {
    const RESETS: usize = 300_000;
    const BOUND_BYTES: u64 = 64 * 1024 * 1024;
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    soon("a run", client.exec().run(run("true"))).await.unwrap();
    let before = daemon.rss_bytes();
    let mut most = 0;
    let mut frames = Frames::connect(&daemon).await;
    let flood = async {
        for sent in 0..RESETS {
            let stream = frames.headers(START, false);
            frames.cancel(stream);
            // Cut off is bounded too.
            if sent % 1000 == 0 && frames.try_flush().await.is_err() {
                return;
            }
        }
    };
    let serve = async {
        for _ in 0..50 {
            soon("a run", client.exec().run(run("true"))).await.unwrap();
            most = most.max(daemon.rss_bytes());
        }
    };
    tokio::join!(flood, serve);
    most = most.max(daemon.rss_bytes());
    println!(
        "{RESETS} resets: {} KiB more",
        most.saturating_sub(before) / 1024
    );
    assert!(most < before + BOUND_BYTES, "{before} -> {most}");
    daemon.stop().await;
}

//! What holds for every call of the API, whatever its method is.

use bytes::Bytes;
use http::Request;
use prost::Message;
use prost_types::FileDescriptorSet;
use remex::{
    FILE_DESCRIPTOR_SET,
    error::Reason,
    v1::{
        Command, DeleteRequest, GetRequest, GetServerInfoRequest, ResizeRequest, SignalRequest,
        StartRequest, StdinChunk, Terminal, WriteRequest, event::Kind, execution::State,
    },
};

use crate::{
    calls::assert_error,
    harness::{
        Daemon,
        http2::{Answer, Frames, Http2, framed},
        soon,
    },
};

const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// An empty message, by gzip.
const GZIP: &[u8] = b"\x01\0\0\0\x14\x1f\x8b\x08\0\0\0\0\0\x02\xff\x03\0\0\0\0\0\0\0\0\0";

/// The paths of all calls.
fn paths() -> Vec<String> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let mut paths = Vec::new();
    for file in files {
        for service in &file.service {
            let (package, name) = (file.package(), service.name());
            let methods = service.method.iter();
            paths.extend(methods.map(|method| format!("/{package}.{name}/{}", method.name())));
        }
    }
    assert!(paths.len() >= 14, "{paths:?}");
    paths
}

/// A message of so many bytes, all of them of a field that nobody knows.
fn padded(bytes: usize) -> Bytes {
    // Field 1000, its length in four bytes.
    let content = bytes - 6;
    let mut message = vec![0xc2, 0x3e];
    message.extend((0..4).map(|index| {
        let seven = u8::try_from(content >> (7 * index) & 0x7f).unwrap();
        if index < 3 { seven | 0x80 } else { seven }
    }));
    message.resize(bytes, b'x');
    let length = u32::try_from(bytes).unwrap();
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// A connection, and the calls that are made on it.
struct Calls {
    http2: Http2,
}

impl Calls {
    async fn answer(&mut self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc");
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        self.http2.ask(request.body(()).unwrap(), body).await
    }

    /// The code, and the reason if there is one.
    async fn ends(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> (String, Option<String>) {
        let answer = self.answer(path, headers, body).await;
        let code = answer.get("grpc-status").expect("a status").to_owned();
        (code, answer.get("remex-reason").map(str::to_owned))
    }
}

#[tokio::test]
async fn every_call_is_checked_alike() {
    let daemon = Daemon::start(&[]).await;
    let http2 = Http2::connect(&daemon).await;
    let mut calls = Calls { http2 };
    let empty = Bytes::from_static(&[0; 5]);
    for path in &paths() {
        let usual = calls.ends(path, &[], empty.clone()).await;
        for (what, headers, body) in [
            (
                "a long deadline",
                &[("grpc-timeout", "99999999H")][..],
                empty.clone(),
            ),
            (
                "gzip",
                &[("grpc-encoding", "gzip")],
                Bytes::from_static(GZIP),
            ),
            (
                "a name for no compression",
                &[("grpc-encoding", "identity")],
                empty.clone(),
            ),
            ("the largest message", &[], padded(MAX_REQUEST_BYTES)),
        ] {
            let ends = calls.ends(path, headers, body).await;
            assert_eq!(ends, usual, "{path}, {what}");
        }
        for timeout in ["", "1", "-1S", "1.5S", "123456789S", "1s", "S"] {
            let headers = [("grpc-timeout", timeout)];
            let answer = calls.answer(path, &headers, empty.clone()).await;
            assert_error(&answer, Reason::InvalidField);
        }
        for timeout in ["0H", "0n"] {
            let headers = [("grpc-timeout", timeout)];
            let (code, _) = calls.ends(path, &headers, empty.clone()).await;
            assert_eq!(code, "4", "{path}, {timeout}");
        }
        let gzip = [("grpc-encoding", "gzip")];
        for (headers, body, reason) in [
            (
                &[][..],
                padded(MAX_REQUEST_BYTES + 1),
                Reason::MessageTooLarge,
            ),
            (
                &[],
                Bytes::from_static(b"\0\xff\xff\xff\xff"),
                Reason::MessageTooLarge,
            ),
            (
                &[],
                Bytes::from_static(b"\0\0\0\0\x03\xff\xff\xff"),
                Reason::InvalidField,
            ),
            (
                &[],
                Bytes::from_static(b"\0\0\0\0\x03\xff"),
                Reason::InvalidField,
            ),
            (
                &[],
                Bytes::from_static(b"\x07\0\0\0\0"),
                Reason::InvalidField,
            ),
            (
                &[],
                Bytes::from_static(b"\x01\0\0\0\x03abc"),
                Reason::InvalidField,
            ),
            (
                &gzip,
                Bytes::from_static(b"\x01\0\0\0\x03abc"),
                Reason::InvalidField,
            ),
            (&[("grpc-encoding", "br")], empty.clone(), Reason::NotYet),
        ] {
            let answer = calls.answer(path, headers, body.clone()).await;
            println!("{path} {headers:?} {:?}", &body[..body.len().min(8)]);
            assert_error(&answer, reason);
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_56_no_call_is_one_by_another_method_or_content_type() {
    let daemon = Daemon::start(&[]).await;
    let mut http2 = Http2::connect(&daemon).await;
    for path in &paths() {
        for (method, content_type, status) in [
            ("GET", "application/grpc", 405),
            ("PUT", "application/grpc", 405),
            ("POST", "text/plain", 415),
            ("POST", "application/grpc-web", 415),
            ("POST", "application/grpc+json", 415),
        ] {
            let request = Request::builder()
                .method(method)
                .uri(format!("http://localhost{path}"))
                .header("content-type", content_type)
                .body(())
                .unwrap();
            let answer = http2.ask(request, Bytes::from_static(&[0; 5])).await;
            assert_eq!(answer.status, status, "{method} {path} {content_type}");
        }
    }
    daemon.stop().await;
}

/// What would change an execution leaves it as it is.
#[tokio::test]
async fn pitfall_67_no_call_that_was_reset_in_the_segment_in_which_it_came_is_carried_out() {
    let daemon = Daemon::start(&[]).await;
    let mut exec = daemon.client().await.exec();
    let start = |shell: &str| StartRequest {
        command: Some(Command {
            shell: shell.to_owned(),
            terminal: Some(Terminal::default()),
            ..Command::default()
        }),
        stdin_open: true,
        ..StartRequest::default()
    };
    let shell = "stty size; read x; stty size; exit 3";
    let mut events = exec.start(start(shell)).await.unwrap().into_inner();
    let mut output = Vec::new();
    let mut id = String::new();
    while output.is_empty() {
        let event = soon("an event", events.message()).await.unwrap();
        match event.unwrap().event.unwrap().kind {
            Some(Kind::Started(started)) => id = started.execution_id,
            Some(Kind::Output(piece)) => output.extend(piece.data),
            other => panic!("{other:?}"),
        }
    }
    let ended = exec.start(start("exit")).await.unwrap().into_inner();
    let ended = of_ended(ended).await;

    let execution_id = id.clone();
    let signal = SignalRequest {
        execution_id,
        signal: 9,
    };
    let execution_id = id.clone();
    let resize = ResizeRequest {
        execution_id,
        rows: 7,
        columns: 8,
    };
    let write = WriteRequest {
        execution_id: id.clone(),
        chunk: Some(StdinChunk {
            data: "early\n".into(),
            ..StdinChunk::default()
        }),
    };
    let delete = DeleteRequest {
        execution_id: ended.clone(),
    };
    for _ in 0..20 {
        let mut frames = Frames::connect(&daemon).await;
        for (method, body) in [
            ("Signal", framed(&signal)),
            ("Resize", framed(&resize)),
            ("Write", framed(&write)),
            ("Delete", framed(&delete)),
        ] {
            let stream = frames.headers(&format!("/remex.v1.ExecService/{method}"), false);
            frames.data(stream, &body, true);
            frames.cancel(stream);
        }
        // What comes behind them is served, so that they have been seen.
        let last = frames.headers("/remex.v1.ExecService/GetServerInfo", false);
        frames.data(last, &framed(&GetServerInfoRequest {}), true);
        frames.flush().await;
        assert!(frames.has_data_of(last).await);
    }
    let get = |id: &str| GetRequest {
        execution_id: id.to_owned(),
        ..GetRequest::default()
    };
    let record = exec.get(get(&id)).await.unwrap().into_inner();
    let record = record.execution.unwrap();
    assert_eq!(
        (record.state(), record.stdin_accepted_bytes),
        (State::Running, 0)
    );
    exec.get(get(&ended)).await.expect("its record is there");

    exec.write(write).await.unwrap();
    let mut exit = None;
    while let Some(response) = soon("an event", events.message()).await.unwrap() {
        match response.event.unwrap().kind {
            Some(Kind::Output(piece)) => output.extend(piece.data),
            Some(Kind::Exited(exited)) => exit = exited.exit,
            _ => {}
        }
    }
    assert_eq!(exit.unwrap().code, Some(3));
    let output = String::from_utf8_lossy(&output);
    assert_eq!(output.matches("24 80").count(), 2, "{output}");
    daemon.stop().await;
}

/// The id of an execution, once it has ended.
async fn of_ended(mut events: tonic::Streaming<remex::v1::StartResponse>) -> String {
    let mut id = String::new();
    while let Some(response) = soon("an event", events.message()).await.unwrap() {
        if let Some(Kind::Started(started)) = response.event.unwrap().kind {
            id = started.execution_id;
        }
    }
    id
}

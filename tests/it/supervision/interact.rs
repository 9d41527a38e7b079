//! What a caller of Interact sends: carried out, refused by index, or discarded, and never a command's life.

use futures_util::stream;
use remex::{
    error::Reason as Refusal,
    v1::{
        self, InteractRequest, InteractResponse, ResizeRequest, StartRequest, StdinChunk,
        WindowSize, event::Kind, exit::Reason, interact_request::Message,
    },
};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::support::{RequestExt, Server, argv, count, shell};
use crate::harness::{Marker, eventually, soon};

const MIB: usize = 1024 * 1024;

/// A call of Interact, message by message. Dropping it cancels the call.
struct Call {
    requests: mpsc::Sender<InteractRequest>,
    responses: Streaming<InteractResponse>,
    started: v1::Started,
}

/// What came until the end of a call.
#[derive(Debug, Default)]
struct Heard {
    refused: Vec<v1::Refused>,
    output: Vec<u8>,
    exit: Option<v1::Exit>,
}

impl Call {
    async fn start(server: &Server, request: StartRequest) -> Self {
        let (requests, mut received) = mpsc::channel(16);
        let first = Message::Start(Box::new(request));
        let _ = requests.try_send(InteractRequest {
            message: Some(first),
        });
        let outbound = stream::poll_fn(move |context| received.poll_recv(context));
        let mut exec = server.exec();
        let responses = soon("a start", exec.interact(outbound)).await.unwrap();
        let mut responses = responses.into_inner();
        let first = soon("started", responses.message()).await.unwrap().unwrap();
        let Some(Kind::Started(started)) = first.event.and_then(|event| event.kind) else {
            panic!("the first event is not started");
        };
        Self {
            requests,
            responses,
            started,
        }
    }

    async fn send(&self, message: impl Into<Option<Message>>) {
        let message = message.into();
        let sent = self.requests.send(InteractRequest { message });
        soon("room", sent).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<InteractResponse>, Status> {
        soon("a response", self.responses.message()).await
    }

    /// Everything to the end.
    async fn end(&mut self) -> Result<Heard, Status> {
        let mut heard = Heard::default();
        while let Some(response) = self.next().await? {
            heard.refused.extend(response.refused);
            match response.event.and_then(|event| event.kind) {
                Some(Kind::Output(output)) => heard.output.extend_from_slice(&output.data),
                Some(Kind::Exited(exited)) => heard.exit = exited.exit,
                _ => {}
            }
        }
        Ok(heard)
    }
}

fn chunk(offset: Option<u64>, data: &'static str, eof: bool) -> Message {
    Message::StdinChunk(StdinChunk {
        offset,
        data: data.into(),
        eof,
        ..StdinChunk::default()
    })
}

fn resize(rows: u32, columns: u32) -> Message {
    Message::Resize(WindowSize { rows, columns })
}

#[tokio::test]
async fn what_cannot_be_carried_out_is_refused_and_the_call_goes_on() {
    let server = Server::start(&[]).await;
    let mut call = Call::start(&server, shell("cat; exec sleep 1000")).await;
    let both = StdinChunk {
        data: "a".into(),
        text: "b".into(),
        ..StdinChunk::default()
    };
    let attach = v1::AttachRequest {
        execution_id: call.started.execution_id.clone(),
        ..v1::AttachRequest::default()
    };
    let expected = [
        (1, Message::Signal(99), Some(Refusal::InvalidField)),
        (2, Message::Signal(0), Some(Refusal::InvalidField)),
        (3, resize(10, 20), Some(Refusal::NoTerminal)),
        (4, resize(0, 0), Some(Refusal::NoTerminal)),
        (5, resize(70_000, 20), Some(Refusal::InvalidField)),
        (
            6,
            Message::Start(Box::new(shell("true"))),
            Some(Refusal::InvalidField),
        ),
        (7, Message::Attach(attach), Some(Refusal::InvalidField)),
        (8, Message::StdinChunk(both), Some(Refusal::InvalidField)),
        (9, chunk(None, "ab", false), None),
        (10, chunk(Some(0), "abc", true), None),
        (11, chunk(Some(0), "abc", true), None),
        (12, chunk(None, "", true), None),
        (13, chunk(None, "d", false), Some(Refusal::StdinClosed)),
        (14, chunk(Some(1), "bcd", false), Some(Refusal::StdinClosed)),
    ];
    let mut refused = Vec::new();
    for (index, message, refusal) in expected {
        call.send(message).await;
        refused.extend(refusal.map(|refusal| (index, refusal.as_str().to_owned())));
    }
    call.send(None).await;
    refused.push((15, Refusal::InvalidField.as_str().to_owned()));
    // Each is answered while the command runs.
    let mut heard = Vec::new();
    let mut accepted = 0;
    while heard.len() < refused.len() {
        let response = call.next().await.unwrap().unwrap();
        accepted = response.stdin_accepted_bytes.max(accepted);
        if let Some(one) = response.refused {
            assert!(!one.message.is_empty());
            heard.push((one.message_index, one.reason));
        }
    }
    heard.sort();
    assert_eq!(heard, refused);
    assert_eq!(accepted, 3);
    call.send(Message::Signal(9)).await;
    let heard = call.end().await.unwrap();
    assert_eq!(heard.exit.unwrap().reason(), Reason::Signal);
    server.daemon.stop().await;
}

/// It ends the call, and is never an end of stdin.
#[tokio::test]
async fn a_hole_ends_the_call() {
    let server = Server::start(&[]).await;
    for round in 0..count(10, 100) {
        let ended = server.daemon.home().path(&format!("ended-{round}"));
        let text = format!("cat >/dev/null; echo x >{}", ended.display());
        let mut call = Call::start(&server, shell(text)).await;
        call.send(chunk(None, "ab", false)).await;
        call.send(chunk(Some(3), "d", false)).await;
        let status = call.end().await.unwrap_err();
        assert_eq!(Refusal::of(&status), Some(Refusal::StdinHole), "{status}");
        let pid = call.started.pid;
        eventually("its end", || {
            super::support::state_of(pid).is_none().then_some(())
        })
        .await;
        assert!(!ended.exists());
    }
    server.daemon.stop().await;
}

/// A wrong first message ends the call as well.
#[tokio::test]
async fn the_first_message_starts_or_attaches() {
    let server = Server::start(&[]).await;
    for message in [None, Some(Message::Signal(9)), Some(chunk(None, "a", true))] {
        let requests = stream::iter([InteractRequest { message }]);
        let mut exec = server.exec();
        let status = soon("an end", exec.interact(requests)).await.unwrap_err();
        assert_eq!(
            Refusal::of(&status),
            Some(Refusal::InvalidField),
            "{status}"
        );
    }
    server.daemon.stop().await;
}

/// Half-closing is the end of stdin, going away is not: a command must not take what it has got for all that there is.
#[tokio::test]
async fn a_cancelled_call_is_no_end_of_stdin() {
    let server = Server::start(&[]).await;
    for round in 0..count(30, 1000) {
        let ended = server.daemon.home().path(&format!("ended-{round}"));
        let text = format!("trap '' TERM; cat >/dev/null; echo x >{}", ended.display());
        let request = shell(text).kill_after(300);
        let call = Call::start(&server, request).await;
        call.send(chunk(None, "part", false)).await;
        let pid = call.started.pid;
        drop(call);
        eventually("its end", || {
            super::support::state_of(pid).is_none().then_some(())
        })
        .await;
        assert!(!ended.exists(), "round {round}");
    }
    server.daemon.stop().await;
}

/// The server reads 1 MiB beyond what it has accepted, and so the signal behind it.
#[tokio::test]
async fn pitfall_45_a_signal_overtakes_stdin_that_the_command_does_not_read() {
    let server = Server::start(&[]).await;
    for (signal, bytes) in [(15, 65_536), (9, 1000), (15, MIB)] {
        let mut call = Call::start(&server, argv(["sleep", "1000"])).await;
        for _ in 0..2 * MIB / bytes {
            let data = vec![b'x'; bytes].into();
            call.send(Message::StdinChunk(StdinChunk {
                data,
                ..StdinChunk::default()
            }))
            .await;
        }
        call.send(Message::Signal(signal)).await;
        let exit = call.end().await.unwrap().exit.unwrap();
        assert_eq!((exit.signal, exit.reason()), (signal, Reason::Signal));
    }
    server.daemon.stop().await;
}

/// Nor does a KILL that comes another way wait behind stdin, however that came.
#[tokio::test]
async fn pitfall_45_a_kill_from_elsewhere_overtakes_stdin_too() {
    let server = Server::start(&[]).await;
    let sleep = || argv(["sleep", "1000"]);
    let much = || StdinChunk {
        data: vec![b'x'; MIB + MIB / 2].into(),
        ..StdinChunk::default()
    };
    for request in [sleep(), sleep().on_terminal()] {
        for by_command_line in [false, true] {
            let mut call = Call::start(&server, request.clone()).await;
            call.send(Message::StdinChunk(much())).await;
            let id = &call.started.execution_id;
            if by_command_line {
                let output = server.remex(&["kill", "-s", "KILL", id]).output();
                let output = soon("remex kill", output).await.unwrap();
                assert!(output.status.success(), "{output:?}");
            } else {
                server.kill(id).await;
            }
            let exit = call.end().await.unwrap().exit.unwrap();
            assert_eq!((exit.signal, exit.reason()), (9, Reason::Signal));
        }
    }
    let running = server.begin(sleep().stdin_open()).await;
    let write = v1::WriteRequest {
        execution_id: running.id.clone(),
        chunk: Some(much()),
    };
    let mut exec = server.exec();
    let writing = tokio::spawn(async move { exec.write(write).await });
    // Some of it has been taken, and the rest waits.
    soon("stdin that is taken", async {
        while server.accepted(&running.id).await == 0 {}
    })
    .await;
    server.kill(&running.id).await;
    assert_eq!(running.end().await.ending(), (-1, 9, Reason::Signal));
    // Its answer does not say that all has been taken.
    match soon("an answer", writing).await.unwrap() {
        Ok(written) => {
            let accepted = written.into_inner().stdin_accepted_bytes;
            assert!(accepted < much().data.len() as u64, "{accepted}");
        }
        Err(ended) => assert_eq!(Refusal::of(&ended), Some(Refusal::ExecutionEnded)),
    }
    server.daemon.stop().await;
}

impl Server {
    async fn kill(&self, execution_id: &str) {
        let signal = v1::SignalRequest {
            execution_id: execution_id.to_owned(),
            signal: 9,
        };
        soon("a signal", self.exec().signal(signal)).await.unwrap();
    }

    async fn accepted(&self, execution_id: &str) -> u64 {
        let get = v1::GetRequest {
            execution_id: execution_id.to_owned(),
            ..v1::GetRequest::default()
        };
        let got = soon("a record", self.exec().get(get)).await.unwrap();
        got.into_inner().execution.unwrap().stdin_accepted_bytes
    }
}

/// At most 16 wait for a caller that does not read, and its messages are read all the same.
#[tokio::test]
async fn refusals_that_nobody_reads_are_dropped() {
    const WAITING: usize = 16;
    let server = Server::start(&[]).await;
    let marker = Marker::new();
    let mut call = Call::start(&server, shell(format!("yes {marker}"))).await;
    server.held_up(&call.started.execution_id).await;
    for _ in 0..1000 {
        call.send(Message::Signal(99)).await;
    }
    call.send(Message::Signal(9)).await;
    marker.is_gone().await;
    let heard = call.end().await.unwrap();
    assert_eq!(heard.exit.unwrap().reason(), Reason::Signal);
    let refused = heard.refused.len();
    // Some may have gone out while the window filled up again.
    assert!((1..=4 * WAITING).contains(&refused), "{refused}");
    server.daemon.stop().await;
}

#[tokio::test]
async fn what_comes_after_the_end_is_discarded() {
    let server = Server::start(&[]).await;
    for _ in 0..count(20, 200) {
        let mut call = Call::start(&server, shell("exec <&-; echo out; exit 3")).await;
        for _ in 0..20 {
            for message in [
                chunk(None, "x", false),
                Message::Signal(28),
                chunk(None, "", true),
                chunk(None, "late", false),
            ] {
                let sent = InteractRequest {
                    message: Some(message),
                };
                let _ = call.requests.send(sent).await;
            }
        }
        let heard = call.end().await.unwrap();
        assert_eq!(heard.output, b"out\n");
        assert_eq!(heard.exit.unwrap().code, Some(3));
    }
    server.daemon.stop().await;
}

/// 0 rows or columns are what some clients know of their terminal: nothing.
#[tokio::test]
async fn pitfall_59_a_size_of_nothing_leaves_the_size_as_it_was() {
    let server = Server::start(&[]).await;
    let text = "while read -r line; do stty size; done";
    let mut call = Call::start(&server, shell(text).on_terminal()).await;
    for size in [resize(30, 90), resize(0, 50), resize(50, 0), resize(0, 0)] {
        call.send(size).await;
    }
    for (rows, columns) in [(0, 0), (0, 5), (5, 0)] {
        let request = ResizeRequest {
            execution_id: call.started.execution_id.clone(),
            rows,
            columns,
        };
        soon("a resize", server.exec().resize(request))
            .await
            .unwrap();
    }
    call.send(chunk(None, "x\n", true)).await;
    let heard = call.end().await.unwrap();
    let seen = String::from_utf8_lossy(&heard.output).into_owned();
    assert!(seen.contains("30 90\r\n"), "{seen:?}");
    assert_eq!(heard.refused, []);
    server.daemon.stop().await;
}

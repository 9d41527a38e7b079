//! What becomes of an execution whose callers go: KILL, GRACE, DETACH, and observers, who are none.

use remex::{
    error::Reason as Refusal,
    v1::{
        AttachRequest, InteractRequest, InteractResponse, OnDisconnect, StartRequest, StdinChunk,
        event::Kind, execution::State, exit::Reason, interact_request::Message,
    },
};
use rustix::process::Signal;
use tokio::sync::mpsc;
use tonic::Streaming;

use super::support::{detached, exit, from, output, started_id};
use crate::{
    harness::{Marker, soon},
    supervision::support::{RequestExt, Server, duration, ending, shell},
};

fn graceful(mut request: StartRequest, millis: u64) -> StartRequest {
    request.on_disconnect = OnDisconnect::Grace.into();
    request.disconnect_grace = Some(duration(millis));
    request
}

#[tokio::test]
async fn without_a_caller_in_time_grace_ends_it() {
    let server = Server::start(&[]).await;
    let marker = Marker::new();
    let request = graceful(shell(format!("echo on; exec sleep {marker}")), 300);
    let mut events = server.start_events(request).await;
    events.until("on").await;
    let id = started_id(&events.all[0]);
    drop(events);
    // An observer is no caller.
    let observer = server
        .attach(AttachRequest {
            observer: true,
            ..from(&id, 0)
        })
        .await;
    let all = observer.end().await;
    assert_eq!(exit(&all).reason(), Reason::Disconnect);
    marker.is_gone().await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn a_caller_in_time_keeps_it() {
    let server = Server::start(&[]).await;
    let request = graceful(
        shell("echo on; read a; echo $a; exit 6").stdin_open(),
        60_000,
    );
    let mut events = server.start_events(request).await;
    events.until("on").await;
    let id = started_id(&events.all[0]);
    drop(events);
    let mut reader = server.attach(from(&id, 0)).await;
    reader.until("on").await;
    let server = {
        drop(reader);
        server.crash(&[]).await
    };
    let mut call = Call::attach(&server, from(&id, 2)).await;
    call.chunk(0, b"back\n").await;
    let (text, exit) = call.end().await;
    assert_eq!(text, b"back\n");
    assert_eq!(ending(&exit), (6, 0, Reason::Self_));
    server.daemon.stop().await;
}

#[tokio::test]
async fn grace_runs_while_no_server_is_there() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().clone();
    let marker = Marker::new();
    let request = graceful(shell(format!("echo on; exec sleep {marker}")), 200);
    let mut events = server.start_events(request).await;
    events.until("on").await;
    let id = started_id(&events.all[0]);
    let Server { mut daemon, .. } = server;
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    drop(daemon);
    marker.is_gone().await;
    let server = Server::start_in(&home, &[]).await;
    let ended = server.wait(&id).await;
    assert_eq!(ended.exit.unwrap().reason(), Reason::Disconnect);
    server.daemon.stop().await;
}

#[tokio::test]
async fn kill_with_an_id_ends_with_its_caller_and_its_outcome_is_kept() {
    let server = Server::start(&[]).await;
    let marker = Marker::new();
    let mut request = shell(format!("echo on; exec sleep {marker}"));
    request.request_id = "k".into();
    request.on_disconnect = OnDisconnect::Kill.into();
    let mut events = server.start_events(request.clone()).await;
    events.until("on").await;
    let id = started_id(&events.all[0]);
    drop(events);
    let ended = server.wait(&id).await;
    assert_eq!(ended.exit.unwrap().reason(), Reason::Disconnect);
    let all = server.start_events(request.clone()).await.end().await;
    assert_eq!(exit(&all).reason(), Reason::Disconnect);
    assert_eq!(output(&all), b"on\n");
    // A crash is its callers' going.
    request.request_id = "k2".into();
    let mut events = server.start_events(request.clone()).await;
    events.until("on").await;
    let server = server.crash(&[]).await;
    let all = server.start_events(request.clone()).await.end().await;
    assert_eq!(exit(&all).reason(), Reason::Disconnect);
    // In a drain it is as one that is not durable.
    request.request_id = "k3".into();
    let mut events = server.start_events(request).await;
    events.until("on").await;
    let home = server.daemon.home().clone();
    let Server { mut daemon, .. } = server;
    daemon.signal(Signal::TERM);
    let all = events.end().await;
    assert_eq!(exit(&all).reason(), Reason::Shutdown);
    assert_eq!(daemon.wait().await.code(), Some(0));
    drop(daemon);
    marker.is_gone().await;
    let server = Server::start_in(&home, &[]).await;
    let id = started_id(&all[0]);
    assert_eq!(
        server.wait(&id).await.exit.unwrap().reason(),
        Reason::Shutdown
    );
    server.daemon.stop().await;
}

/// A call of Interact that takes up an execution again.
struct Call {
    requests: mpsc::Sender<InteractRequest>,
    responses: Streaming<InteractResponse>,
}

impl Call {
    async fn attach(server: &Server, request: AttachRequest) -> Self {
        let (requests, mut received) = mpsc::channel(16);
        let message = Some(Message::Attach(request));
        requests.try_send(InteractRequest { message }).unwrap();
        let outbound = futures_util::stream::poll_fn(move |context| received.poll_recv(context));
        let mut exec = server.exec();
        let responses = soon("an attach", exec.interact(outbound)).await.unwrap();
        Self {
            requests,
            responses: responses.into_inner(),
        }
    }

    async fn send(&self, message: Message) {
        let message = Some(message);
        let sent = self.requests.send(InteractRequest { message });
        soon("room", sent).await.unwrap();
    }

    async fn chunk(&self, offset: u64, data: &'static [u8]) {
        let chunk = StdinChunk {
            offset: Some(offset),
            data: data.into(),
            ..StdinChunk::default()
        };
        self.send(Message::StdinChunk(chunk)).await;
    }

    async fn next(&mut self) -> Option<InteractResponse> {
        soon("a response", self.responses.message()).await.unwrap()
    }

    /// Its output and its exit.
    async fn end(&mut self) -> (Vec<u8>, remex::v1::Exit) {
        let (mut text, mut exit) = (Vec::new(), None);
        while let Some(response) = self.next().await {
            assert_eq!(response.refused, None);
            match response.event.and_then(|event| event.kind) {
                Some(Kind::Output(output)) => text.extend_from_slice(&output.data),
                Some(Kind::Exited(exited)) => exit = exited.exit,
                _ => {}
            }
        }
        (text, exit.expect("an exit"))
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again_at_the_exact_byte() {
    let server = Server::start(&[]).await;
    let id = server.detach(shell("exec cat").stdin_open()).await;
    let mut call = Call::attach(&server, from(&id, 1)).await;
    call.chunk(0, b"one ").await;
    let mut text = Vec::new();
    let mut accepted = 0;
    while text != b"one " || accepted < 4 {
        let response = call.next().await.unwrap();
        accepted = accepted.max(response.stdin_accepted_bytes);
        if let Some(Kind::Output(output)) = response.event.and_then(|event| event.kind) {
            text.extend_from_slice(&output.data);
        }
    }
    drop(call);
    let server = server.crash(&[]).await;
    let last = server.get(&id).await.last_sequence;
    let mut call = Call::attach(&server, from(&id, last)).await;
    // What it cannot know to have arrived is sent again.
    call.chunk(2, b"e two").await;
    let eof = StdinChunk {
        eof: true,
        ..StdinChunk::default()
    };
    call.send(Message::StdinChunk(eof)).await;
    let (text, exit) = call.end().await;
    assert_eq!((&text[..], exit.code), (&b"two"[..], Some(0)));
    let all = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(output(&all), b"one two");
    server.daemon.stop().await;
}

#[tokio::test]
async fn an_observer_sends_nothing_and_its_half_close_is_none() {
    let server = Server::start(&[]).await;
    let id = server.detach(shell("echo on; exec cat").stdin_open()).await;
    let observer = AttachRequest {
        observer: true,
        ..from(&id, 1)
    };
    let mut call = Call::attach(&server, observer).await;
    call.chunk(0, b"no").await;
    call.send(Message::Signal(9)).await;
    let mut refused = Vec::new();
    while refused.len() < 2 {
        refused.extend(call.next().await.unwrap().refused);
    }
    for (index, refused) in refused.iter().enumerate() {
        assert_eq!(refused.message_index, index as u64 + 1);
        assert_eq!(refused.reason, Refusal::InvalidField.as_str());
    }
    assert_eq!(server.get(&id).await.attached, 0);
    let Call {
        requests,
        responses,
    } = call;
    drop(requests);
    // It is fed by another all the same.
    let mut other = Call::attach(&server, from(&id, 2)).await;
    other.chunk(0, b"yes").await;
    let eof = StdinChunk {
        eof: true,
        ..StdinChunk::default()
    };
    other.send(Message::StdinChunk(eof)).await;
    assert_eq!(other.end().await.0, b"yes");
    drop(responses);
    assert_eq!(server.get(&id).await.state(), State::Ended);
    server.daemon.stop().await;
}

#[tokio::test]
async fn detached_it_needs_nobody() {
    let server = Server::start(&[]).await;
    let request = detached(shell("sleep 0.3; exit 8"));
    let mut events = server.start_events(request).await;
    let id = started_id(&events.next().await.unwrap());
    drop(events);
    let server = server.crash(&[]).await;
    let ended = server.wait(&id).await;
    assert_eq!(ending(ended.exit.as_ref().unwrap()), (8, 0, Reason::Self_));
    server.daemon.stop().await;
}

/// It may have more of stdin to send than may be on its way beyond what it knows to be accepted.
#[tokio::test]
async fn who_takes_one_up_again_is_told_how_far_stdin_is_also_where_nothing_happens() {
    let server = Server::start(&[]).await;
    let request = StartRequest {
        stdin_open: true,
        ..shell("sleep 1000")
    };
    let id = server.detach(request).await;
    server.write_to(&id, b"abc").await;
    let mut call = Call::attach(&server, from(&id, 1)).await;
    let first = soon("a response", call.responses.message()).await;
    let first = first.unwrap().unwrap();
    assert_eq!((first.event, first.stdin_accepted_bytes), (None, 3));
    server.signal_to(&id, 9).await;
    server.daemon.stop().await;
}

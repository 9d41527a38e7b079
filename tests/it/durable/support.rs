//! Durable executions, their readers, and servers that die and come back.

use remex::v1::{
    AttachRequest, AttachResponse, DeleteRequest, Event, Execution, Exit, GetRequest, OnDisconnect,
    SignalRequest, StartRequest, StartResponse, StdinChunk, WaitRequest, WriteRequest, event::Kind,
};
use rustix::process::Signal;
use tonic::{Status, Streaming};

use crate::{harness::soon, supervision::support::Server};

/// What runs on without its callers.
pub(crate) fn detached(mut request: StartRequest) -> StartRequest {
    request.on_disconnect = OnDisconnect::Detach.into();
    request
}

/// From `after`, to the end.
pub(crate) fn from(execution_id: &str, after_sequence: u64) -> AttachRequest {
    AttachRequest {
        execution_id: execution_id.to_owned(),
        after_sequence,
        ..AttachRequest::default()
    }
}

/// A message of a stream of events.
pub(crate) trait HasEvent {
    fn event(self) -> Option<Event>;
}

impl HasEvent for StartResponse {
    fn event(self) -> Option<Event> {
        self.event
    }
}

impl HasEvent for AttachResponse {
    fn event(self) -> Option<Event> {
        self.event
    }
}

/// A stream of events. Dropping it is its caller's going.
pub(crate) struct Events<M> {
    stream: Streaming<M>,
    /// What has come of it.
    pub(crate) all: Vec<Event>,
}

impl<M: HasEvent> Events<M> {
    pub(crate) fn new(stream: Streaming<M>) -> Self {
        Self {
            stream,
            all: Vec::new(),
        }
    }

    /// The next event; `None`: the stream has ended well.
    pub(crate) async fn try_next(&mut self) -> Result<Option<Event>, Status> {
        loop {
            let Some(message) = soon("an event", self.stream.message()).await? else {
                return Ok(None);
            };
            if let Some(event) = message.event() {
                if let Some(last) = self.all.last() {
                    let first = match &event.kind {
                        Some(Kind::Gap(gap)) => gap.first_sequence,
                        _ => event.sequence,
                    };
                    assert_eq!(first, last.sequence + 1, "an event is missing");
                }
                self.all.push(event.clone());
                return Ok(Some(event));
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.try_next().await.expect("no error")
    }

    /// Everything to the end.
    pub(crate) async fn end(mut self) -> Vec<Event> {
        while self.next().await.is_some() {}
        self.all
    }

    /// Reads until the output so far has `text`.
    pub(crate) async fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&output(&self.all)).contains(text) {
            let next = self.next().await;
            assert!(next.is_some(), "no {text:?}: {:?}", self.all);
        }
    }
}

/// The bytes of all outputs.
pub(crate) fn output(events: &[Event]) -> Vec<u8> {
    let outputs = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::Output(output)) => Some(&output.data[..]),
        _ => None,
    });
    outputs.collect::<Vec<_>>().concat()
}

/// How it ended.
pub(crate) fn exit(events: &[Event]) -> &Exit {
    match events.last().and_then(|last| last.kind.as_ref()) {
        Some(Kind::Exited(exited)) => exited.exit.as_ref().expect("an exit"),
        other => panic!("it ends with {other:?}"),
    }
}

impl Server {
    pub(crate) async fn start_events(&self, request: StartRequest) -> Events<StartResponse> {
        let started = soon("a start", self.exec().start(request)).await;
        Events::new(started.expect("it starts").into_inner())
    }

    /// Starts what runs on, and returns its id when it runs.
    pub(crate) async fn detach(&self, request: StartRequest) -> String {
        let mut events = self.start_events(detached(request)).await;
        started_id(&events.next().await.expect("an event"))
    }

    pub(crate) async fn try_attach(
        &self,
        request: AttachRequest,
    ) -> Result<Events<AttachResponse>, Status> {
        let attached = soon("an attach", self.exec().attach(request)).await;
        attached.map(|response| Events::new(response.into_inner()))
    }

    pub(crate) async fn attach(&self, request: AttachRequest) -> Events<AttachResponse> {
        self.try_attach(request).await.expect("it is there")
    }

    pub(crate) async fn get(&self, execution_id: &str) -> Execution {
        let request = GetRequest {
            execution_id: execution_id.to_owned(),
            ..GetRequest::default()
        };
        let got = soon("a record", self.exec().get(request)).await;
        got.expect("it is known")
            .into_inner()
            .execution
            .expect("a record")
    }

    /// Its record, once it has ended.
    pub(crate) async fn wait(&self, execution_id: &str) -> Execution {
        let request = WaitRequest {
            execution_id: execution_id.to_owned(),
            ..WaitRequest::default()
        };
        let waited = soon("an end", self.exec().wait(request)).await;
        waited
            .expect("it is known")
            .into_inner()
            .execution
            .expect("a record")
    }

    pub(crate) async fn signal_to(&self, execution_id: &str, signal: i32) {
        let request = SignalRequest {
            execution_id: execution_id.to_owned(),
            signal,
        };
        let sent = soon("a signal", self.exec().signal(request)).await;
        sent.expect("it runs");
    }

    /// Gives it stdin.
    pub(crate) async fn write_to(&self, execution_id: &str, data: &'static [u8]) {
        let request = WriteRequest {
            execution_id: execution_id.to_owned(),
            chunk: Some(StdinChunk {
                data: data.into(),
                ..StdinChunk::default()
            }),
        };
        let written = soon("a write", self.exec().write(request)).await;
        written.expect("it takes stdin");
    }

    pub(crate) async fn delete(&self, execution_id: &str) -> Result<(), Status> {
        let request = DeleteRequest {
            execution_id: execution_id.to_owned(),
        };
        let deleted = soon("a delete", self.exec().delete(request)).await;
        deleted.map(drop)
    }

    /// The server is killed, and another one follows it.
    pub(crate) async fn crash(self, flags: &[&str]) -> Self {
        let Self { mut daemon, .. } = self;
        daemon.signal(Signal::KILL);
        daemon.wait().await;
        let home = daemon.home().clone();
        drop(daemon);
        Self::start_in(&home, flags).await
    }
}

/// The execution that `started` tells of.
pub(crate) fn started_id(event: &Event) -> String {
    match &event.kind {
        Some(Kind::Started(started)) => started.execution_id.clone(),
        other => panic!("it begins with {other:?}"),
    }
}

//! ExecService: the calls, over [`process`](super::process).

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use prost_types::Timestamp;
use remex::{error::Reason, v1::*};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::process::{self, Input, Reply, Spawned};

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service, with its records by id.
#[derive(Default, Clone)]
pub(super) struct Exec {
    /// What GetServerInfo names; it is unknown if there is nothing.
    features: Vec<String>,
    records: Arc<Mutex<HashMap<String, Execution>>>,
}

impl Exec {
    /// One that names these.
    pub(super) fn with_features(features: &[&str]) -> Self {
        let features = features.iter().map(|&feature| feature.to_owned());
        Self {
            features: features.collect(),
            ..Self::default()
        }
    }

    fn started(&self, command: Command, pid: i32) -> String {
        let mut records = self.records.lock().unwrap();
        let id = format!("exec-{}", records.len() + 1);
        let record = Execution {
            execution_id: id.clone(),
            command: Some(command),
            state: execution::State::Running.into(),
            caller: "unix:1000".into(),
            pid,
            create_time: Some(Timestamp::from(std::time::SystemTime::now())),
            ..Execution::default()
        };
        records.insert(id.clone(), record);
        id
    }

    fn ended(&self, id: &str, exit: Exit) {
        let mut records = self.records.lock().unwrap();
        let record = records.get_mut(id).unwrap();
        record.state = execution::State::Ended.into();
        record.exit = Some(exit);
    }

    fn record(&self, id: &str) -> Result<Execution, Status> {
        let records = self.records.lock().unwrap();
        let missing = || Reason::ExecutionNotFound.status(format!("no execution {id:?}"));
        records.get(id).cloned().ok_or_else(missing)
    }

    fn begin(
        &self,
        command: Command,
        stdin: Vec<u8>,
        stdin_open: bool,
        input: mpsc::Receiver<Input>,
    ) -> Result<mpsc::Receiver<Reply>, Status> {
        let spawned = process::spawn(&command, stdin, stdin_open)?;
        let id = self.started(command, spawned.pid());
        let (replies, events) = mpsc::channel(16);
        let records = self.clone();
        tokio::spawn(async move {
            let exit = Spawned::drive(spawned, id.clone(), input, replies).await;
            records.ended(&id, exit);
        });
        Ok(events)
    }
}

fn no_input() -> mpsc::Receiver<Input> {
    mpsc::channel(1).1
}

#[tonic::async_trait]
impl exec_service_server::ExecService for Exec {
    type RunStream = Events<RunResponse>;
    type StartStream = Events<StartResponse>;
    type InteractStream = Events<InteractResponse>;
    type AttachStream = Events<AttachResponse>;

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let request = request.into_inner();
        let command = request.command.unwrap_or_default();
        let mut events = self.begin(command, request.stdin_data.into(), false, no_input())?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut response = RunResponse::default();
        while let Some(reply) = events.recv().await {
            match reply.event.and_then(|event| event.kind) {
                Some(event::Kind::Started(started)) => response.execution_id = started.execution_id,
                Some(event::Kind::Output(output)) => match output.stream() {
                    output::Stream::Stderr => stderr.extend(output.data),
                    _ => stdout.extend(output.data),
                },
                Some(event::Kind::Exited(exited)) => response.exit = exited.exit,
                _ => {}
            }
        }
        response.stdout_bytes_total = stdout.len() as u64;
        response.stderr_bytes_total = stderr.len() as u64;
        if request.max_output_bytes > 0 {
            let max = usize::try_from(request.max_output_bytes).unwrap();
            response.stdout_truncated = stdout.len() > max;
            stdout.truncate(max);
        }
        (response.stdout_data, response.stderr_data) = (stdout.into(), stderr.into());
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(response)))))
    }

    async fn start(
        &self,
        request: Request<StartRequest>,
    ) -> Result<Response<Self::StartStream>, Status> {
        let request = request.into_inner();
        let command = request.command.unwrap_or_default();
        let events = self.begin(command, request.stdin_data.into(), false, no_input())?;
        let events =
            ReceiverStream::new(events).map(|reply| Ok(StartResponse { event: reply.event }));
        Ok(Response::new(Box::pin(events)))
    }

    async fn interact(
        &self,
        request: Request<Streaming<InteractRequest>>,
    ) -> Result<Response<Self::InteractStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.message);
        let Some(interact_request::Message::Start(start)) = first else {
            return Err(Reason::InvalidField.field("message", "is not start"));
        };
        let (sender, input) = mpsc::channel(16);
        let command = start.command.unwrap_or_default();
        let events = self.begin(command, start.stdin_data.into(), true, input)?;
        tokio::spawn(process::read_input(requests, sender));
        let events = ReceiverStream::new(events).map(|reply| {
            Ok(InteractResponse {
                event: reply.event,
                stdin_accepted_bytes: reply.accepted,
                refused: None,
            })
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<Response<WaitResponse>, Status> {
        let id = request.into_inner().execution_id;
        let execution = loop {
            let record = self.record(&id)?;
            if record.state() == execution::State::Ended {
                break record;
            }
            tokio::task::yield_now().await;
        };
        Ok(Response::new(WaitResponse {
            execution: Some(execution),
        }))
    }

    async fn signal(
        &self,
        request: Request<SignalRequest>,
    ) -> Result<Response<SignalResponse>, Status> {
        let request = request.into_inner();
        let record = self.record(&request.execution_id)?;
        if record.state() == execution::State::Ended {
            return Err(Reason::ExecutionEnded.status("it has ended"));
        }
        process::signal(record.pid, request.signal);
        Ok(Response::new(SignalResponse {}))
    }

    /// One record a page, so that callers have to turn pages.
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let request = request.into_inner();
        let position = request.page_token.parse().unwrap_or(0);
        let mut records: Vec<_> = self.records.lock().unwrap().values().cloned().collect();
        records
            .retain(|record| request.states.is_empty() || request.states.contains(&record.state));
        records.sort_by(|a, b| b.execution_id.cmp(&a.execution_id));
        let more = position + 1 < records.len();
        let next_page_token = if more {
            (position + 1).to_string()
        } else {
            String::new()
        };
        let executions = records.into_iter().skip(position).take(1).collect();
        Ok(Response::new(ListResponse {
            executions,
            next_page_token,
        }))
    }

    async fn attach(
        &self,
        _: Request<AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Reason::NotYet.status("not here"))
    }

    /// Takes nothing, but says how much it would have.
    async fn write(
        &self,
        request: Request<WriteRequest>,
    ) -> Result<Response<WriteResponse>, Status> {
        let request = request.into_inner();
        self.record(&request.execution_id)?;
        let chunk = request.chunk.unwrap_or_default();
        Ok(Response::new(WriteResponse {
            stdin_accepted_bytes: chunk.offset() + chunk.data.len() as u64,
        }))
    }

    async fn resize(&self, _: Request<ResizeRequest>) -> Result<Response<ResizeResponse>, Status> {
        Err(Reason::NotYet.status("not here"))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let execution = Some(self.record(&request.get_ref().execution_id)?);
        Ok(Response::new(GetResponse { execution }))
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteResponse>, Status> {
        let id = request.into_inner().execution_id;
        if self.record(&id)?.state() != execution::State::Ended {
            return Err(Reason::ExecutionRunning.status("it has not ended"));
        }
        self.records.lock().unwrap().remove(&id);
        Ok(Response::new(DeleteResponse {}))
    }

    async fn get_server_info(
        &self,
        _: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        if self.features.is_empty() {
            return Err(Status::unimplemented("no such method"));
        }
        Ok(Response::new(GetServerInfoResponse {
            features: self.features.clone(),
            ..GetServerInfoResponse::default()
        }))
    }
}

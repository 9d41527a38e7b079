//! ExecService.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use remex::{
    error::Reason,
    v1::{self, exec_service_server::ExecService, interact_request::Message},
};
use remex_daemon::net::Caller;
use remex_gateway::CLIENT_ADDRESS_METADATA;
use remex_supervisor::lifecycle::{counters::Counters, outlet::EventOutlet};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::{
    answer, info, interact, list, reply,
    run::OneAnswer,
    status,
    stream::Events,
    translate::{self, Common},
};
use crate::{
    attached::{
        answer::{ANSWER_BYTES, AnswerOutlet},
        live::{LargeRoom, Live},
        outlet::AttachedOutlet,
        waiting_stdin::cost,
    },
    budget::Budget,
    execution::{Execution, Executions, NewExecution, Through},
    grpc::codec,
};

/// The first message of Interact has to come within this time.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

type Reply<T> = Result<Response<T>, Status>;

/// Runs commands.
#[derive(Debug, Clone)]
pub struct ExecHandler {
    executions: Arc<Executions>,
    answers: Budget,
    large: LargeRoom,
    tasks: TaskTracker,
}

impl ExecHandler {
    /// A service over `executions`; its own tasks are tracked by `tasks`.
    pub fn new(executions: Arc<Executions>, tasks: TaskTracker) -> Self {
        Self {
            executions,
            answers: Budget::new(ANSWER_BYTES),
            large: LargeRoom::default(),
            tasks,
        }
    }

    /// The execution that a request names, if its caller may see it.
    fn find(&self, id: &str, caller: &Caller) -> Result<Arc<Execution>, Status> {
        self.executions
            .find(translate::execution_id(id)?, caller)
            .ok_or_else(|| status::not_found(id))
    }

    async fn start_streaming<M>(
        &self,
        request: v1::StartRequest,
        origin: Origin,
        interactive: bool,
    ) -> Result<(Arc<Execution>, Events<M>), Status>
    where
        Events<M>: Stream,
        M: super::stream::Message,
    {
        let keepalive = translate::keepalive(request.keepalive_interval)?;
        let (text, stdin_open) = (request.text, request.stdin_open || interactive);
        let request = translate::Request::try_from(Common::from(request))?;
        let (live, received) = Live::new(interactive, self.large.clone());
        let outlet = |counters| EventOutlet::new(live, counters);
        let execution = self.start(request, stdin_open, origin, outlet).await?;
        let events = Events::new(&execution, text, received, keepalive);
        Ok((execution, events))
    }

    async fn start<O>(
        &self,
        request: translate::Request,
        stdin_open: bool,
        origin: Origin,
        outlet: impl FnOnce(Arc<Counters>) -> O,
    ) -> Result<Arc<Execution>, Status>
    where
        O: AttachedOutlet + Send + Sync + 'static,
    {
        let new = NewExecution {
            spec: request.spec,
            stdin: request.stdin,
            stdin_open,
            until_end: request.until_end,
            labels: request.labels,
            caller: origin.caller,
            through: origin.through,
        };
        let execution = self.executions.start(new, outlet).await;
        execution.map_err(|refused| status::refused(&refused))
    }

    /// What Attach and Interact's `attach` say of an execution whose output is not kept, as all are now.
    fn attach(&self, id: &str, caller: &Caller) -> Status {
        match self.find(id, caller) {
            Ok(_) => Reason::NotDurable
                .status("the execution's output is not kept, so nobody can attach to it"),
            Err(status) => status,
        }
    }
}

/// Where a command comes from.
#[derive(Debug)]
struct Origin {
    caller: Caller,
    through: Through,
}

impl Origin {
    fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let caller = caller(request)?;
        let client = request.metadata().get(CLIENT_ADDRESS_METADATA);
        let through = Through {
            transport: caller.transport,
            gateway: client.is_some(),
            client: client
                .filter(|client| !caller.is_at(client.as_bytes()))
                .and_then(|client| client.to_str().ok()?.parse().ok()),
        };
        Ok(Self { caller, through })
    }
}

/// Who calls. Every request has one: the accept loop, or the gateway, put it there.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::internal("the request came without its caller"))
}

#[tonic::async_trait]
impl ExecService for ExecHandler {
    type RunStream = OneAnswer;

    async fn run(&self, request: Request<v1::RunRequest>) -> Reply<OneAnswer> {
        let origin = Origin::of(&request)?;
        let request = request.into_inner();
        let cap = translate::output_cap(request.max_output_bytes)?;
        let text = request.text;
        let request = translate::Request::try_from(Common::from(request))?;
        let (answer, mut answered) = AnswerOutlet::new(cap, &self.answers);
        let execution = self.start(request, false, origin, |_| answer).await?;
        Ok(OneAnswer::response(async move {
            let answered = answered.recv().await.ok_or_else(|| {
                Status::internal("the execution's supervision ended before it did")
            })?;
            answer::of(&execution, *answered, cap, text)
        }))
    }

    type StartStream = Events<v1::StartResponse>;

    async fn start(&self, request: Request<v1::StartRequest>) -> Reply<Self::StartStream> {
        let origin = Origin::of(&request)?;
        let (_, events) = self
            .start_streaming(request.into_inner(), origin, false)
            .await?;
        Ok(Response::new(events))
    }

    type InteractStream = Events<v1::InteractResponse>;

    async fn interact(
        &self,
        request: Request<Streaming<v1::InteractRequest>>,
    ) -> Reply<Self::InteractStream> {
        let origin = Origin::of(&request)?;
        let mut requests = request.into_inner();
        let first = timeout(FIRST_MESSAGE, requests.message())
            .await
            .map_err(|_| Reason::InvalidField.field("message", "did not come within 30 s"))?
            .map_err(codec::error)?;
        match first.and_then(|request| request.message) {
            Some(Message::Start(start)) => {
                let (execution, events) = self.start_streaming(*start, origin, true).await?;
                let (failure, failed) = oneshot::channel();
                let (refused, refusals) = mpsc::channel(interact::REFUSALS);
                let replies = interact::Replies { failure, refused };
                self.tasks
                    .spawn(interact::pump(requests, execution, replies));
                Ok(Response::new(events.with_replies(failed, refusals)))
            }
            Some(Message::Attach(attach)) => Err(self.attach(&attach.execution_id, &origin.caller)),
            _ => {
                Err(Reason::InvalidField
                    .field("message", "the first one has to be start or attach"))
            }
        }
    }

    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Reply<Self::AttachStream> {
        Err(self.attach(&request.get_ref().execution_id, &caller(&request)?))
    }

    async fn wait(&self, request: Request<v1::WaitRequest>) -> Reply<v1::WaitResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let execution = self.find(&request.execution_id, &caller)?;
        match translate::duration("timeout", request.timeout)? {
            // Either way the answer is the record as it is.
            Some(bound) => drop(timeout(bound, execution.ended()).await),
            None => execution.ended().await,
        }
        Ok(Response::new(v1::WaitResponse {
            execution: Some(reply::execution(&execution)),
        }))
    }

    async fn write(&self, request: Request<v1::WriteRequest>) -> Reply<v1::WriteResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let execution = self.find(&request.execution_id, &caller)?;
        let chunk = request
            .chunk
            .ok_or_else(|| Reason::InvalidField.field("chunk", "is missing"))?;
        let chunk = translate::stdin_chunk(chunk)?;
        let share = execution.stdin.try_take(cost(&chunk));
        let share = share.ok_or_else(status::stdin_memory)?;
        let written = execution.write(chunk, share).await;
        let stdin_accepted_bytes = written
            .map_err(status::ended)?
            .map_err(status::stdin_error)?;
        Ok(Response::new(v1::WriteResponse {
            stdin_accepted_bytes,
        }))
    }

    async fn signal(&self, request: Request<v1::SignalRequest>) -> Reply<v1::SignalResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let number = translate::signal("signal", request.signal)?;
        let execution = self.find(&request.execution_id, &caller)?;
        execution.signal(number).await.map_err(status::ended)?;
        Ok(Response::new(v1::SignalResponse {}))
    }

    async fn resize(&self, request: Request<v1::ResizeRequest>) -> Reply<v1::ResizeResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let execution = self.find(&request.execution_id, &caller)?;
        let resized = interact::resize(&execution, request.rows, request.columns).await?;
        resized.map_err(status::ended)?;
        Ok(Response::new(v1::ResizeResponse {}))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Reply<v1::GetResponse> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let execution = match (request.execution_id.as_str(), request.request_id.as_str()) {
            (id, "") => self.find(id, &caller)?,
            ("", _) => return Err(status::not_yet("request_id")),
            _ => {
                return Err(Reason::InvalidField.field(
                    "request_id",
                    "is given beside execution_id; give one of them",
                ));
            }
        };
        Ok(Response::new(v1::GetResponse {
            execution: Some(reply::execution(&execution)),
        }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Reply<v1::ListResponse> {
        let caller = caller(&request)?;
        let filter = list::filter(request.into_inner())?;
        let found = self.executions.list(&filter, &caller);
        let executions = found.executions.iter();
        let executions = executions.map(|execution| reply::execution(execution));
        Ok(Response::new(list::page(executions, found.more)))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Reply<v1::DeleteResponse> {
        let caller = caller(&request)?;
        let execution = self.find(&request.get_ref().execution_id, &caller)?;
        if execution.exit().is_none() {
            return Err(Reason::ExecutionRunning
                .status("the execution has not ended; end it with Signal first"));
        }
        self.executions.delete(&execution);
        Ok(Response::new(v1::DeleteResponse {}))
    }

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Reply<v1::GetServerInfoResponse> {
        Ok(Response::new(info::server_info(&self.executions)))
    }
}

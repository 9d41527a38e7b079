//! ExecService.

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::Stream;
use remex::{
    error::Reason,
    v1::{self, exec_service_server::ExecService, interact_request::Message},
};
use remex_daemon::net::Caller;
use remex_gateway::CLIENT_ADDRESS_METADATA;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming, metadata::AsciiMetadataValue};

use super::{
    answer, info, interact, list, reply,
    run::OneAnswer,
    status,
    stream::Events,
    translate::{self, Common},
};
use crate::{
    attached::{answer::ANSWER_BYTES, waiting_stdin::cost},
    audit::CallRecord,
    budget::Budget,
    execution::{Cut, Execution, Executions, NewExecution, Through, Viewer},
    grpc::codec,
    policy::{
        Rpc,
        gate::{Permit, PolicyGate},
        question::OnOthers,
    },
    traces::CallTrace,
};

/// The first message of Interact has to come within this time.
const FIRST_MESSAGE: Duration = Duration::from_secs(30);

type Reply<T> = Result<Response<T>, Status>;

/// Runs commands.
#[derive(Debug, Clone)]
pub struct ExecHandler {
    executions: Arc<Executions>,
    answers: Budget,
    gate: PolicyGate,
    tasks: TaskTracker,
}

impl ExecHandler {
    /// A service over `executions` for those that `gate` lets pass; its own tasks are tracked by `tasks`.
    pub fn new(executions: Arc<Executions>, gate: PolicyGate, tasks: TaskTracker) -> Self {
        Self {
            executions,
            answers: Budget::new(ANSWER_BYTES),
            gate,
            tasks,
        }
    }

    /// The policy that calls pass.
    pub fn gate(&self) -> &PolicyGate {
        &self.gate
    }

    /// Who calls, if it may make the call `rpc`.
    async fn viewer<T>(&self, request: &Request<T>, rpc: Rpc) -> Result<Viewer, Status> {
        let (caller, record) = (caller(request)?, record(request));
        let standing = self.gate.call(&caller, rpc, &record).await;
        Ok(Viewer {
            standing: standing.map_err(|why| status::not_permitted(&why))?,
            caller,
            record,
        })
    }

    /// Who wants to start a command by the call `rpc`.
    async fn origin<T>(&self, request: &Request<T>, rpc: Rpc) -> Result<Origin, Status> {
        let (caller, record) = (caller(request)?, record(request));
        let standing = self.gate.standing(&caller).await;
        let standing = standing.map_err(|why| status::not_permitted(&why))?;
        let permit = standing.clone().map(|standing| standing.permit(rpc));
        if permit.is_none() {
            record.allowed(None);
        }
        let viewer = Viewer {
            caller,
            standing,
            record,
        };
        Ok(Origin::of(request, viewer, permit))
    }

    /// The execution that a request names, if its caller may do `what` to it.
    async fn find(
        &self,
        id: &str,
        viewer: &Viewer,
        what: OnOthers,
    ) -> Result<Arc<Execution>, Status> {
        let execution_id = translate::execution_id(id)?;
        viewer.record.about(execution_id);
        let found = self.executions.find(execution_id, viewer, what).await;
        found.ok_or_else(|| status::not_found(id))
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
        origin.viewer.record.asks(&request.spec);
        let new = new_execution(request, stdin_open, origin);
        let started = self.executions.start_live(new, interactive).await;
        let (execution, items) = started.map_err(|refused| status::refused(&refused))?;
        let events = Events::new(&execution, text, items, keepalive);
        Ok((execution, events))
    }

    async fn attach_streaming<M>(
        &self,
        request: &v1::AttachRequest,
        viewer: &Viewer,
        interactive: bool,
    ) -> Result<(Arc<Execution>, Events<M>), Status>
    where
        M: super::stream::Message,
    {
        let keepalive = translate::keepalive(request.keepalive_interval)?;
        let execution = self
            .find(&request.execution_id, viewer, OnOthers::Attach)
            .await?;
        let attached = execution.attach(translate::attaching(request, interactive));
        let items = attached
            .await
            .map_err(|refused| status::attach_refused(&refused))?;
        let events = Events::new(&execution, request.text, items, keepalive);
        Ok((execution, events))
    }
}

fn new_execution(request: translate::Request, stdin_open: bool, origin: Origin) -> NewExecution {
    NewExecution {
        spec: request.spec,
        stdin: request.stdin,
        stdin_open,
        until_end: request.until_end,
        labels: request.labels,
        permit: origin.permit,
        caller: origin.viewer.caller,
        record: origin.viewer.record,
        through: origin.through,
        trace: origin.trace,
        durability: request.durability,
    }
}

/// Where a command comes from.
#[derive(Debug)]
struct Origin {
    viewer: Viewer,
    /// Leave of the policy, if there is one.
    permit: Option<Permit>,
    through: Through,
    /// The trace that it becomes part of.
    trace: CallTrace,
}

impl Origin {
    fn of<T>(request: &Request<T>, viewer: Viewer, permit: Option<Permit>) -> Self {
        let client = request.metadata().get(CLIENT_ADDRESS_METADATA);
        let through = Through::of(&viewer.caller, client.map(AsciiMetadataValue::as_bytes));
        Self {
            viewer,
            permit,
            through,
            trace: request.extensions().get().cloned().unwrap_or_default(),
        }
    }
}

/// Who calls. Every request has one: the accept loop, or the gateway, put it there.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Status::internal("the request came without its caller"))
}

/// What is told of the call; nothing, where nothing is told.
pub(super) fn record<T>(request: &Request<T>) -> CallRecord {
    let record = request.extensions().get::<CallRecord>();
    record.cloned().unwrap_or_default()
}

#[tonic::async_trait]
impl ExecService for ExecHandler {
    type RunStream = OneAnswer;

    async fn run(&self, request: Request<v1::RunRequest>) -> Reply<OneAnswer> {
        let origin = self.origin(&request, Rpc::Run).await?;
        let request = request.into_inner();
        let cap = translate::output_cap(request.max_output_bytes)?;
        let text = request.text;
        let request = translate::Request::try_from(Common::from(request))?;
        origin.viewer.record.asks(&request.spec);
        translate::named(&request)?;
        let new = new_execution(request, false, origin);
        let started = self.executions.start_answer(new, cap, &self.answers).await;
        let (execution, answer) = started.map_err(|refused| status::refused(&refused))?;
        Ok(OneAnswer::response(async move {
            let answered = answer.get().await.map_err(|cut| status::cut(&cut))?;
            answer::of(&execution, answered, cap, text)
        }))
    }

    type StartStream = Events<v1::StartResponse>;

    async fn start(&self, request: Request<v1::StartRequest>) -> Reply<Self::StartStream> {
        let origin = self.origin(&request, Rpc::Start).await?;
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
        let origin = self.origin(&request, Rpc::Interact).await?;
        let mut requests = request.into_inner();
        let first = timeout(FIRST_MESSAGE, requests.message())
            .await
            .map_err(|_| Reason::InvalidField.field("message", "did not come within 30 s"))?
            .map_err(codec::error)?;
        let (execution, events, is_observer) = match first.and_then(|request| request.message) {
            Some(Message::Start(start)) => {
                let (execution, events) = self.start_streaming(*start, origin, true).await?;
                (execution, events, false)
            }
            Some(Message::Attach(attach)) => {
                // What it joins is judged by whose that is; this is about the call.
                let Viewer { caller, record, .. } = &origin.viewer;
                let called = self.gate.call(caller, Rpc::Interact, record).await;
                called.map_err(|why| status::not_permitted(&why))?;
                let attached = self.attach_streaming(&attach, &origin.viewer, true);
                let (execution, events) = attached.await?;
                (execution, events, attach.observer)
            }
            _ => {
                return Err(Reason::InvalidField
                    .field("message", "the first one has to be start or attach"));
            }
        };
        let (failure, failed) = oneshot::channel();
        let (refused, refusals) = mpsc::channel(interact::REFUSALS);
        let replies = interact::Replies { failure, refused };
        let pump = interact::pump(requests, execution, replies, is_observer);
        self.tasks.spawn(pump);
        Ok(Response::new(events.with_replies(failed, refusals)))
    }

    type AttachStream = Events<v1::AttachResponse>;

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Reply<Self::AttachStream> {
        let viewer = self.viewer(&request, Rpc::Attach).await?;
        let attached = self.attach_streaming(request.get_ref(), &viewer, false);
        let (_, events) = attached.await?;
        Ok(Response::new(events))
    }

    async fn wait(&self, request: Request<v1::WaitRequest>) -> Reply<v1::WaitResponse> {
        let viewer = self.viewer(&request, Rpc::Wait).await?;
        let request = request.into_inner();
        let execution = self
            .find(&request.execution_id, &viewer, OnOthers::See)
            .await?;
        let bound = translate::duration("timeout", request.timeout)?;
        viewer.record.decided();
        let passed = async {
            match bound {
                Some(bound) => sleep(bound).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = execution.ended() => {}
            // Either way the answer is the record as it is.
            () = passed => {}
            () = execution.left() => return Err(status::cut(&Cut::Draining)),
        }
        execution.refresh().await;
        Ok(Response::new(v1::WaitResponse {
            execution: Some(reply::execution(&execution)),
        }))
    }

    async fn write(&self, request: Request<v1::WriteRequest>) -> Reply<v1::WriteResponse> {
        let viewer = self.viewer(&request, Rpc::Write).await?;
        let request = request.into_inner();
        let execution = self
            .find(&request.execution_id, &viewer, OnOthers::Attach)
            .await?;
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
        let viewer = self.viewer(&request, Rpc::Signal).await?;
        let request = request.into_inner();
        let number = translate::signal("signal", request.signal)?;
        let execution = self
            .find(&request.execution_id, &viewer, OnOthers::Signal)
            .await?;
        execution.signal(number).await.map_err(status::ended)?;
        Ok(Response::new(v1::SignalResponse {}))
    }

    async fn resize(&self, request: Request<v1::ResizeRequest>) -> Reply<v1::ResizeResponse> {
        let viewer = self.viewer(&request, Rpc::Resize).await?;
        let request = request.into_inner();
        let execution = self
            .find(&request.execution_id, &viewer, OnOthers::Attach)
            .await?;
        let resized = interact::resize(&execution, request.rows, request.columns).await?;
        resized.map_err(status::ended)?;
        Ok(Response::new(v1::ResizeResponse {}))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Reply<v1::GetResponse> {
        let viewer = self.viewer(&request, Rpc::Get).await?;
        let request = request.into_inner();
        let execution = match (request.execution_id.as_str(), request.request_id.as_str()) {
            (id, "") => self.find(id, &viewer, OnOthers::See).await?,
            ("", request_id) => {
                let found = self
                    .executions
                    .find_request(request_id, &viewer.caller)
                    .await;
                let found = found.map_err(|refused| status::refused(&refused))?;
                let found = found.ok_or_else(|| status::not_found(request_id))?;
                viewer.record.about(found.id);
                found
            }
            _ => {
                return Err(Reason::InvalidField.field(
                    "request_id",
                    "is given beside execution_id; give one of them",
                ));
            }
        };
        execution.refresh().await;
        Ok(Response::new(v1::GetResponse {
            execution: Some(reply::execution(&execution)),
        }))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Reply<v1::ListResponse> {
        let viewer = self.viewer(&request, Rpc::List).await?;
        let filter = list::filter(request.into_inner())?;
        let found = self.executions.list(&filter, &viewer).await;
        let executions = found.executions.iter();
        let executions =
            executions.map(|execution| (execution.rank(), reply::execution(execution)));
        Ok(Response::new(list::page(executions, found.more)))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Reply<v1::DeleteResponse> {
        let viewer = self.viewer(&request, Rpc::Delete).await?;
        let execution = self
            .find(&request.get_ref().execution_id, &viewer, OnOthers::Delete)
            .await?;
        if execution.end_record().is_none() {
            return Err(Reason::ExecutionRunning
                .status("the execution has not ended; end it with Signal first"));
        }
        let deleted = self.executions.delete(&execution).await;
        deleted.map_err(|error| status::not_deleted(&error))?;
        Ok(Response::new(v1::DeleteResponse {}))
    }

    async fn get_server_info(
        &self,
        request: Request<v1::GetServerInfoRequest>,
    ) -> Reply<v1::GetServerInfoResponse> {
        let asked = self.gate.ask(&caller(&request)?);
        asked.map_err(|why| status::not_permitted(&why))?;
        Ok(Response::new(info::server_info(&self.executions)))
    }
}

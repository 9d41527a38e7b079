//! Services to answer the gateway: they run nothing, but play what the text of a command says, word by word.
//!
//! `out TEXT`, `err TEXT`, `hex 0a0b` (raw stdout), `fill N` (N bytes of stdout), `exit N`, `signal N`, `timeout`, `wait` (for ever), `hold` (until released),
//! `shutdown`, `output-cut`, `silence` (no answer at all), `refuse` (no such program), `lose` (the connection, before anything was said), `cut` (the stream, in the middle);
//! separated by `;`. Any other word is not found, as in a shell.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use remex::{
    error::Reason,
    v1::{
        self, echo_request, echo_response,
        echo_service_server::{EchoService, EchoServiceServer},
        event::Kind,
        exec_service_server::{ExecService, ExecServiceServer},
        output::Stream as Which,
    },
};
use remex_daemon::net::Caller;
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, service::Routes};

/// The id of whatever runs.
pub(crate) const ID: &str = "0198-fake";
const CHUNK_BYTES: usize = 64 * 1024;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What has been asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) command: v1::Command,
    pub(crate) caller: Option<Caller>,
    pub(crate) address: Option<String>,
}

#[derive(Default)]
struct Counts {
    started: usize,
    ended: usize,
}

/// The services, and what they have seen.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Seen>);

struct Seen {
    asked: Mutex<Vec<Asked>>,
    counts: watch::Sender<Counts>,
    released: CancellationToken,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let (counts, _) = watch::channel(Counts::default());
        Self(Arc::new(Seen {
            asked: Mutex::default(),
            counts,
            released: CancellationToken::new(),
        }))
    }

    pub(crate) fn routes(&self) -> Routes {
        let echo = EchoServiceServer::new(self.clone());
        Routes::new(ExecServiceServer::new(self.clone())).add_service(echo)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap().clone()
    }

    /// Waits until exactly `count` commands run.
    pub(crate) async fn running(&self, count: usize) {
        let mut counts = self.0.counts.subscribe();
        let runs = counts.wait_for(|counts| counts.started - counts.ended == count);
        runs.await.unwrap();
    }

    /// Lets every `hold` go on.
    pub(crate) fn release(&self) {
        self.0.released.cancel();
    }

    /// Waits until `count` commands have ended.
    pub(crate) async fn ended(&self, count: usize) {
        let mut counts = self.0.counts.subscribe();
        let ended = counts.wait_for(|counts| counts.ended >= count);
        ended.await.unwrap();
    }
}

/// Counts a command as running until its stream is dropped.
struct Running(Arc<Seen>);

impl Running {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.counts.send_modify(|counts| counts.started += 1);
        Self(Arc::clone(seen))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.counts.send_modify(|counts| counts.ended += 1);
    }
}

fn response(kind: Kind) -> v1::StartResponse {
    v1::StartResponse {
        event: Some(v1::Event {
            kind: Some(kind),
            ..v1::Event::default()
        }),
    }
}

fn output(stream: Which, data: impl Into<Bytes>) -> Kind {
    Kind::Output(v1::Output {
        stream: stream.into(),
        data: data.into(),
        ..v1::Output::default()
    })
}

fn exited(code: i32, signal: i32, reason: v1::exit::Reason) -> Kind {
    let exit = Some(v1::Exit {
        code: Some(code),
        signal,
        reason: reason.into(),
        ..v1::Exit::default()
    });
    Kind::Exited(v1::Exited { exit })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// `None` when nobody listens any more.
async fn play(
    script: &str,
    released: &CancellationToken,
    sender: &mpsc::Sender<Result<v1::StartResponse, Status>>,
) -> Option<()> {
    let send = async |kind| sender.send(Ok(response(kind))).await.ok();
    send(Kind::Started(v1::Started {
        execution_id: ID.to_owned(),
        pid: 1,
    }))
    .await?;
    // A newline before it is nothing to a shell.
    for word in script.trim_start_matches('\n').split(';') {
        let (word, rest) = word.split_once(' ').unwrap_or((word, ""));
        match word {
            "out" => send(output(Which::Stdout, rest.to_owned())).await?,
            "err" => send(output(Which::Stderr, rest.to_owned())).await?,
            "hex" => send(output(Which::Stdout, unhex(rest))).await?,
            "fill" => {
                let mut left: usize = rest.parse().unwrap();
                while left > 0 {
                    let chunk = left.min(CHUNK_BYTES);
                    send(output(Which::Stdout, vec![b'x'; chunk])).await?;
                    left -= chunk;
                }
            }
            "exit" => {
                let code = rest.parse().unwrap();
                return send(exited(code, 0, v1::exit::Reason::Self_)).await;
            }
            "signal" => {
                let signal = rest.parse().unwrap();
                return send(exited(-1, signal, v1::exit::Reason::Self_)).await;
            }
            "timeout" => return send(exited(-1, 15, v1::exit::Reason::Timeout)).await,
            "shutdown" => return send(exited(-1, 15, v1::exit::Reason::Shutdown)).await,
            "output-cut" => {
                let cut = Reason::OutputCut.status("the server shuts down");
                return sender.send(Err(cut)).await.ok();
            }
            "wait" => sender.closed().await,
            "hold" => released.cancelled().await,
            "cut" => {
                let lost = Status::unavailable("the connection to the server was lost");
                return sender.send(Err(lost)).await.ok();
            }
            word => {
                send(output(Which::Stderr, format!("{word}: not found\n"))).await?;
                return send(exited(127, 0, v1::exit::Reason::Self_)).await;
            }
        }
    }
    send(exited(0, 0, v1::exit::Reason::Self_)).await
}

fn text(request: &Request<v1::StartRequest>, key: &str) -> Option<String> {
    let value = request.metadata().get(key)?;
    Some(value.to_str().unwrap().to_owned())
}

#[tonic::async_trait]
impl ExecService for Fake {
    type RunStream = Answers<v1::RunResponse>;
    type StartStream = Answers<v1::StartResponse>;
    type InteractStream = Answers<v1::InteractResponse>;
    type AttachStream = Answers<v1::AttachResponse>;

    async fn start(
        &self,
        request: Request<v1::StartRequest>,
    ) -> Result<Response<Self::StartStream>, Status> {
        let asked = Asked {
            caller: request.extensions().get().cloned(),
            address: text(&request, remex_gateway::CLIENT_ADDRESS_METADATA),
            command: request.into_inner().command.unwrap_or_default(),
        };
        let script = match &asked.command.argv[..] {
            [] => asked.command.shell.clone(),
            argv => argv.last().cloned().unwrap_or_default(),
        };
        self.0.asked.lock().unwrap().push(asked);
        match script.as_str() {
            "refuse" => return Err(Reason::ProgramNotFound.status("there is no program `nope`")),
            "silence" => return std::future::pending().await,
            "lose" => return Err(Status::unavailable("the connection to the server was lost")),
            _ => {}
        }
        let (sender, receiver) = mpsc::channel(4);
        let running = Running::new(&self.0);
        tokio::spawn(async move {
            play(&script, &running.0.released, &sender).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn run(&self, _: Request<v1::RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        Err(Status::unimplemented("run"))
    }

    async fn interact(
        &self,
        _: Request<Streaming<v1::InteractRequest>>,
    ) -> Result<Response<Self::InteractStream>, Status> {
        Err(Status::unimplemented("interact"))
    }

    async fn attach(
        &self,
        _: Request<v1::AttachRequest>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("attach"))
    }

    async fn wait(
        &self,
        _: Request<v1::WaitRequest>,
    ) -> Result<Response<v1::WaitResponse>, Status> {
        Err(Status::unimplemented("wait"))
    }

    async fn write(
        &self,
        _: Request<v1::WriteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        Err(Status::unimplemented("write"))
    }

    async fn signal(
        &self,
        _: Request<v1::SignalRequest>,
    ) -> Result<Response<v1::SignalResponse>, Status> {
        Err(Status::unimplemented("signal"))
    }

    async fn resize(
        &self,
        _: Request<v1::ResizeRequest>,
    ) -> Result<Response<v1::ResizeResponse>, Status> {
        Err(Status::unimplemented("resize"))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        Err(Status::unimplemented("get"))
    }

    async fn list(
        &self,
        _: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn delete(
        &self,
        _: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        Err(Status::unimplemented("delete"))
    }

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        Err(Status::unimplemented("get_server_info"))
    }
}

#[tonic::async_trait]
impl EchoService for Fake {
    type EchoStreamStream = Answers<v1::EchoStreamResponse>;

    async fn echo(
        &self,
        request: Request<v1::EchoRequest>,
    ) -> Result<Response<v1::EchoResponse>, Status> {
        let content = match request.into_inner().content {
            Some(echo_request::Content::Data(data)) => data.to_ascii_uppercase(),
            other => panic!("{other:?}"),
        };
        let content = Some(echo_response::Content::Data(content.into()));
        Ok(Response::new(v1::EchoResponse { content }))
    }

    async fn echo_stream(
        &self,
        _: Request<Streaming<v1::EchoStreamRequest>>,
    ) -> Result<Response<Self::EchoStreamStream>, Status> {
        Err(Status::unimplemented("echo_stream"))
    }
}

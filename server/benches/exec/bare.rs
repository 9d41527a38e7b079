//! The bare server, in a process of its own: this program once more.

use std::{
    convert::Infallible,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use remex::v1::{
    EchoRequest, EchoResponse, EchoStreamRequest, EchoStreamResponse, echo_request, echo_response,
    echo_service_server::{EchoService, EchoServiceServer},
};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Request, Response, Status, Streaming, body::Body, service::Routes};
use tower::Service;

use crate::support::{Outcome, READY_FILE, Server, runtime};

/// Set in the process that is to be the bare server: where it says where it listens.
const FOLDER_VARIABLE: &str = "REMEX_BENCH_BARE";

/// Starts it in `folder`, which is made.
pub(crate) fn start(folder: &Path) -> Outcome<Server> {
    let mut this = Command::new(env::current_exe()?);
    Server::spawn(folder, this.env(FOLDER_VARIABLE, folder))
}

/// Serves, if this process is to be it; else `None`.
pub(crate) fn serve() -> Option<Outcome<()>> {
    let folder = PathBuf::from(env::var_os(FOLDER_VARIABLE)?);
    Some(run(&folder))
}

/// The least that a server of tonic can do: the standard library's spawn, waited for on the spot. It has no limits, no
/// kill, no record, and one command holds up all others.
fn run(folder: &Path) -> Outcome<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let routes = Routes::new(EchoServiceServer::new(Bare)).prepare();
        let ready = folder.join(READY_FILE);
        let written = ready.with_extension("new");
        fs::write(&written, format!("grpc http://{address}\n"))?;
        fs::rename(written, ready)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(drive(stream, routes.clone()));
        }
    })
}

async fn drive(stream: TcpStream, routes: Routes) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut routes = routes.clone();
        async move {
            let answer = routes.call(request.map(Body::new)).await;
            answer as Result<_, Infallible>
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new());
    let _ = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

struct Bare;

#[tonic::async_trait]
impl EchoService for Bare {
    /// Runs the text in a shell, and answers with what it printed.
    async fn echo(&self, request: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        let Some(echo_request::Content::Text(text)) = request.into_inner().content else {
            return Err(Status::invalid_argument("text is what it runs"));
        };
        let output = Command::new("/bin/sh")
            .args(["-c", &text])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .output()?;
        let content = Some(echo_response::Content::Data(output.stdout.into()));
        Ok(Response::new(EchoResponse { content }))
    }

    type EchoStreamStream = tokio_stream::Empty<Result<EchoStreamResponse, Status>>;

    async fn echo_stream(
        &self,
        _: Request<Streaming<EchoStreamRequest>>,
    ) -> Result<Response<Self::EchoStreamStream>, Status> {
        Err(Status::unimplemented("it has Echo alone"))
    }
}

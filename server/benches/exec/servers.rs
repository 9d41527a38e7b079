//! The servers, each in a process of its own: this program once more.

use std::{
    convert::Infallible,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use remex::v1::{
    EchoRequest, EchoResponse, EchoStreamRequest, EchoStreamResponse, echo_request, echo_response,
    echo_service_server::{EchoService, EchoServiceServer},
};
use remex_client::{Client, Endpoint};
use remex_daemon::shutdown;
use remex_server::{
    app,
    config::{Args, Config},
};
use remex_supervisor::process::{self, Prepared};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};
use tonic::{Request, Response, Status, Streaming, body::Body, service::Routes};
use tower::Service;

use crate::Outcome;

/// What to be, in the process that is to be a server: [`BARE`], or how many bytes remexd shall hold.
const ROLE_VARIABLE: &str = "REMEX_BENCH_ROLE";
const FOLDER_VARIABLE: &str = "REMEX_BENCH_FOLDER";

/// The role of the bare server.
pub(crate) const BARE: &str = "bare";

const START_BOUND: Duration = Duration::from_secs(30);

/// A server that runs.
pub(crate) struct Server {
    child: Child,
    ready: PathBuf,
}

impl Server {
    /// Starts `role` in `folder`, which is made.
    pub(crate) fn start(folder: &Path, role: &str) -> Outcome<Self> {
        let mut this = Command::new(env::current_exe()?);
        this.env(ROLE_VARIABLE, role).env(FOLDER_VARIABLE, folder);
        Self::spawn(folder, this)
    }

    /// Starts `program`, a remexd that was built before, in `folder`, which is made.
    pub(crate) fn start_other(folder: &Path, program: &OsStr) -> Outcome<Self> {
        let mut other = Command::new(program);
        other.args(&arguments(folder)[1..]);
        Self::spawn(folder, other)
    }

    fn spawn(folder: &Path, mut command: Command) -> Outcome<Self> {
        fs::create_dir(folder)?;
        let ready = folder.join("ready");
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, ready };
        let deadline = Instant::now() + START_BOUND;
        while !server.ready.exists() {
            if Instant::now() > deadline {
                return Err("the server did not start".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Connects to the address that begins with `scheme`.
    pub(crate) async fn connect(&self, scheme: &str) -> Outcome<Client> {
        let ready = fs::read_to_string(&self.ready)?;
        let address = ready
            .lines()
            .filter_map(|line| line.strip_prefix("grpc "))
            .find(|address| address.starts_with(scheme))
            .ok_or("no address")?;
        let endpoint: Endpoint = address.parse()?;
        Ok(Client::connect(&endpoint).await?)
    }
}

impl Drop for Server {
    /// remexd then ends what it runs.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Serves, if this process is to be a server; else `None`.
pub(crate) fn serve() -> Option<Outcome<()>> {
    // First thing, as remexd does: this may be its zygote.
    let prepared = process::prepare();
    let role = env::var(ROLE_VARIABLE).ok()?;
    let folder = PathBuf::from(env::var_os(FOLDER_VARIABLE)?);
    Some(if role == BARE {
        bare(&folder)
    } else {
        prepared
            .map_err(Into::into)
            .and_then(|prepared| remexd(&folder, &role, prepared))
    })
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn remexd(folder: &Path, ballast: &str, prepared: Prepared) -> Outcome<()> {
    // Written to, so that it is resident.
    let ballast = vec![1_u8; ballast.parse()?];
    let args = Args::try_parse_from(arguments(folder))?;
    let config = Config::new(&args)?;
    let shutdown = shutdown::on_signals()?;
    runtime()?.block_on(app::run(config, prepared, shutdown))?;
    drop(std::hint::black_box(ballast));
    Ok(())
}

fn arguments(folder: &Path) -> [OsString; 10] {
    let mut unix = OsString::from("unix:");
    unix.push(folder.join("socket"));
    [
        "remexd".into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--listen".into(),
        unix,
        "--no-legacy".into(),
        "--state-dir".into(),
        folder.join("state").into_os_string(),
        "--ready-file".into(),
        folder.join("ready").into_os_string(),
    ]
}

/// The least that a server of tonic can do: the standard library's spawn, waited for on the spot. It has no limits, no
/// kill, no record, and one command holds up all others.
fn bare(folder: &Path) -> Outcome<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let routes = Routes::new(EchoServiceServer::new(Bare)).prepare();
        let ready = folder.join("ready");
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

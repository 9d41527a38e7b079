//! The servers, each in a process of its own, and the client in Python.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use remex_client::Client;
use remex_daemon::net::{BoundAddress, HandedSockets, Users};
use remex_gateway::{Bound, Gateway, config::Legacy, limits::Limits};
use tokio_util::sync::CancellationToken;

use super::support::{self, Outcome, Server, runtime};

/// Set in the process that is to be a gateway of its own: what it serves.
const UPSTREAM_VARIABLE: &str = "REMEX_BENCH_UPSTREAM";

/// Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// remexd, and where it listens.
pub(super) struct Remexd {
    _server: Server,
    pub(super) grpc: String,
    pub(super) json_header: SocketAddr,
    pub(super) length: SocketAddr,
}

impl Remexd {
    /// Starts it in `folder`, which is made.
    pub(super) fn start(folder: &Path) -> Outcome<Self> {
        let flags = [
            "--listen=127.0.0.1:0",
            "--legacy=tcp://127.0.0.1:0/exec",
            "--legacy=tcp://127.0.0.1:0/exec?wire=length",
        ];
        let server = Server::start(folder, support::remexd()?, &flags)?;
        let addresses = server.addresses()?;
        let [grpc, json_header, length] = &addresses[..] else {
            return Err("remexd does not say where it listens".into());
        };
        Ok(Self {
            grpc: grpc.clone(),
            json_header: json_header.trim_start_matches("tcp://").parse()?,
            length: length.trim_start_matches("tcp://").parse()?,
            _server: server,
        })
    }
}

/// Serves, if this process is to be a gateway of its own; else `None`.
pub(super) fn serve() -> Option<Outcome<()>> {
    let upstream = env::var(UPSTREAM_VARIABLE).ok()?;
    Some(serve_gateway(&upstream))
}

/// Prints its port.
fn serve_gateway(upstream: &str) -> Outcome<()> {
    runtime()?.block_on(async {
        let client = Client::connect(&upstream.parse()?).await?;
        let listener = "tcp://127.0.0.1:0/exec".parse()?;
        let users = Users::daemon();
        let bound = Bound::bind(Legacy { listener, users }, &HandedSockets::default())?;
        let BoundAddress::Tcp(address) = bound.local() else {
            return Err("it is no TCP".into());
        };
        println!("{}", address.port());
        let gateway = Gateway::new(client, Limits::default(), env::temp_dir());
        gateway.listeners().renew(vec![bound].into());
        gateway.serve(CancellationToken::new()).await;
        Ok(())
    })
}

/// This program once more, as a gateway.
pub(super) struct Standalone {
    _process: Process,
    pub(super) address: SocketAddr,
}

impl Standalone {
    pub(super) fn start(upstream: &str) -> Outcome<Self> {
        let child = Command::new(env::current_exe()?)
            .env(UPSTREAM_VARIABLE, upstream)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut process = Process(child);
        let address = port(&mut process.0)?;
        Ok(Self {
            _process: process,
            address,
        })
    }
}

/// A program in Python, at this path below the server's package.
fn script(path: &str) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .stdout(Stdio::piped());
    command
}

fn lines(child: &mut Child) -> Outcome<Lines<BufReader<ChildStdout>>> {
    Ok(BufReader::new(child.stdout.take().ok_or("no stdout")?).lines())
}

/// The address on loopback whose port is the first line that `child` prints.
fn port(child: &mut Child) -> Outcome<SocketAddr> {
    let port = lines(child)?.next().ok_or("no port")??.parse()?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The tutorial's server.
pub(super) struct Tutorial {
    _process: Process,
    pub(super) address: SocketAddr,
}

impl Tutorial {
    pub(super) fn start(arguments: &[&str]) -> Outcome<Self> {
        let mut process = Process(
            script("../tests/it/gateway/clients/tutorial_server.py")
                .arg("json-header")
                .args(arguments)
                .spawn()?,
        );
        let address = port(&mut process.0)?;
        Ok(Self {
            _process: process,
            address,
        })
    }
}

/// The tutorial's client.
pub(super) struct Python {
    _process: Process,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Python {
    pub(super) fn start() -> Outcome<Self> {
        let mut child = script("benches/gateway/client.py")
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self {
            stdin: child.stdin.take().ok_or("no stdin")?,
            lines: lines(&mut child)?,
            _process: Process(child),
        })
    }

    /// The median of so many runs over one connection, in microseconds.
    pub(super) fn p50(&mut self, port: u16, count: usize, command: &str) -> Outcome<f64> {
        writeln!(self.stdin, "{port} {count} {command}")?;
        let nanoseconds: u32 = self.lines.next().ok_or("no figure")??.parse()?;
        Ok(f64::from(nanoseconds) / 1e3)
    }
}

//! A client of json-header, remexd with legacy listeners, the gateway as a process of its own, and a look at either.

use std::{
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Resource, getrlimit, setrlimit};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use crate::harness::{Daemon, Home, binaries::binary, eventually, soon};

/// `short`, or `long` in a long run: `REMEX_LONG=1 cargo test`.
pub(crate) fn count(short: usize, long: usize) -> usize {
    let is_long = env::var("REMEX_LONG").is_ok_and(|value| value == "1");
    if is_long { long } else { short }
}

/// What all tests may have open together, with thousands of connections in some of them.
const DESCRIPTORS: u64 = 50_000;

/// Lets this process have that many, if its hard limit does.
pub(crate) fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < DESCRIPTORS) {
        let most = limit.maximum.unwrap_or(DESCRIPTORS);
        limit.current = Some(most.min(DESCRIPTORS));
        setrlimit(Resource::Nofile, limit).expect("more descriptors");
    }
}

/// remexd with legacy listeners at these URLs.
pub(crate) async fn remexd(urls: &[&str]) -> Daemon {
    let flags: Vec<&str> = urls.iter().flat_map(|url| ["--legacy", url]).collect();
    Daemon::start(&flags).await
}

/// A reply of json-header.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) header: Value,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// A client of json-header, or of whatever is read by hand.
pub(crate) struct Legacy {
    pub(crate) stream: TcpStream,
}

impl Legacy {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await;
        Self {
            stream: stream.expect("a connection"),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = soon("a request's way", self.stream.write_all(bytes.as_ref())).await;
        sent.expect("it is taken");
    }

    pub(crate) async fn ask(&mut self, command: &str) -> Reply {
        self.send(command).await;
        self.reply().await.expect("a reply")
    }

    pub(crate) async fn reply(&mut self) -> io::Result<Reply> {
        soon("a reply", async {
            let length = self.stream.read_i32_le().await?;
            let mut header = vec![0; usize::try_from(length).expect("a length")];
            self.stream.read_exact(&mut header).await?;
            let header: Value = serde_json::from_slice(&header).expect("JSON");
            let size = header["total_size"].as_u64().expect("a size");
            let mut body = vec![0; usize::try_from(size).expect("a size that fits")];
            self.stream.read_exact(&mut body).await?;
            Ok(Reply { header, body })
        })
        .await
    }

    /// What comes until the end, or until the reset.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match soon("the end", self.stream.read_to_end(&mut rest)).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
        rest
    }
}

/// A program in `clients/`, which is to succeed.
pub(crate) async fn python(client: &str, arguments: &[&str]) {
    let output = soon(client, script(client, arguments).output()).await;
    let output = output.expect("python3 runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client} {arguments:?}: {stderr}");
}

/// A file in `clients/`.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/gateway/clients")
        .join(name)
}

/// A program in `clients/`, not yet started.
pub(crate) fn script(client: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command
        .arg(source(client))
        .args(arguments)
        .env("PYTHONUTF8", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// remex-gateway. It is killed when it is dropped.
pub(crate) struct Gateway {
    child: Child,
    addresses: Vec<(String, String)>,
}

impl Gateway {
    /// One that calls the server at `upstream`; its files are in `home`.
    pub(crate) async fn start(home: &Home, upstream: &str, urls: &[&str]) -> Self {
        Self::start_with(home, upstream, urls, &[]).await
    }

    /// The same, with `flags`.
    pub(crate) async fn start_with(
        home: &Home,
        upstream: &str,
        urls: &[&str],
        flags: &[&str],
    ) -> Self {
        let ready = home.path("gateway-ready");
        // One before it may have left its own.
        let _ = fs::remove_file(&ready);
        let log = fs::File::create(home.path("gateway-log")).expect("a log file");
        let mut child = Command::new(binary("remex-gateway"))
            .args(["--upstream", upstream])
            .args(urls.iter().flat_map(|url| ["--legacy", url]))
            .args(flags)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("remex-gateway runs");
        let lines = eventually("the gateway's ready file", || {
            if let Some(status) = child.try_wait().expect("a child") {
                panic!("remex-gateway does not serve, {status}");
            }
            fs::read_to_string(&ready).ok()
        })
        .await;
        let addresses = lines.lines().map(|line| {
            let (name, url) = line.split_once(' ').expect("a name and a URL");
            (name.to_owned(), url.to_owned())
        });
        Self {
            child,
            addresses: addresses.collect(),
        }
    }

    /// The first URL of this name.
    pub(crate) fn url(&self, name: &str) -> &str {
        let found = self.addresses.iter().find(|(other, _)| other == name);
        let (_, url) = found.unwrap_or_else(|| panic!("no {name} in {:?}", self.addresses));
        url
    }

    /// Its host and port.
    pub(crate) fn socket(&self, name: &str) -> SocketAddr {
        let (_, rest) = self.url(name).split_once("://").expect("a URL");
        rest.parse().expect("a host and a port")
    }

    pub(crate) fn pid(&self) -> Pid {
        let pid = self.child.id().expect("it has not ended");
        Pid::from_raw(pid.cast_signed()).expect("a pid")
    }
}

/// What a process keeps in memory now, and what it kept at most, in bytes.
pub(crate) fn resident(pid: Pid) -> (u64, u64) {
    let status = fs::read_to_string(of(pid, "status")).expect("the process lives");
    let kilobytes = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse().ok())
            .expect("a number")
    };
    (kilobytes("VmRSS") * 1024, kilobytes("VmHWM") * 1024)
}

/// Has the second figure of [`resident`] begin anew.
pub(crate) fn forget_peak(pid: Pid) {
    const PEAK: &str = "5";
    fs::write(of(pid, "clear_refs"), PEAK).expect("the process is ours");
}

fn of(pid: Pid, file: &str) -> PathBuf {
    format!("/proc/{}/{file}", pid.as_raw_nonzero()).into()
}

/// The sockets that it has open.
pub(crate) fn sockets(pid: Pid) -> usize {
    let descriptors = fs::read_dir(of(pid, "fd")).expect("the process lives");
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| {
            target
                .as_os_str()
                .as_encoded_bytes()
                .starts_with(b"socket:")
        })
        .count()
}

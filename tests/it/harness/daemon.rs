//! A real remexd: it serves when `start` returns, ends well in `stop`, and in any case when it is dropped.

use std::{fs, net::SocketAddr, process::ExitStatus, thread};

use remex_client::{Client, Endpoint};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::{Home, eventually, soon};

/// It is killed when it is dropped, and then, if the test fails, its log printed.
pub(crate) struct Daemon {
    home: Home,
    child: Child,
    addresses: Vec<(String, String)>,
}

impl Daemon {
    /// One with a home of its own; see [`Home::remexd`] for what it does without `flags`.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_in(&Home::new(), flags).await
    }

    pub(crate) async fn start_in(home: &Home, flags: &[&str]) -> Self {
        Self::spawn(home, home.remexd(flags)).await
    }

    /// `command`, which is one of `home`'s and not started yet.
    pub(crate) async fn spawn(home: &Home, mut command: Command) -> Self {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(home.path("log"))
            .expect("a log file");
        command
            .stdout(fs::File::create(home.path("stdout")).expect("a file for stdout"))
            .stderr(log);
        Self::spawn_as_it_is(home, command).await
    }

    /// The same, with stdout and stderr as they are.
    pub(crate) async fn spawn_as_it_is(home: &Home, mut command: Command) -> Self {
        let ready = home.path("ready");
        // A daemon before this one may have left its own.
        let _ = fs::remove_file(&ready);
        let child = command
            .arg("--ready-file")
            .arg(&ready)
            .spawn()
            .expect("remexd runs");
        let mut daemon = Self {
            home: home.clone(),
            child,
            addresses: Vec::new(),
        };
        daemon.addresses = eventually("the ready file", || {
            if let Some(status) = daemon.child.try_wait().expect("a child") {
                panic!("remexd does not serve, {status}");
            }
            fs::read_to_string(&ready).ok()
        })
        .await
        .lines()
        .map(|line| {
            let (name, url) = line.split_once(' ').expect("a name and a URL");
            (name.to_owned(), url.to_owned())
        })
        .collect();
        daemon
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// What it printed when it began to serve.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.home.path("stdout")).expect("its stdout")
    }

    /// Names and URLs, as the ready file has them.
    pub(crate) fn addresses(&self) -> &[(String, String)] {
        &self.addresses
    }

    /// The first URL of this name: `grpc`, `tcp-exec`, …
    pub(crate) fn url(&self, name: &str) -> &str {
        let found = self.addresses.iter().find(|(other, _)| other == name);
        let (_, url) = found.unwrap_or_else(|| panic!("no {name} in {:?}", self.addresses));
        url
    }

    /// Its host and port.
    pub(crate) fn socket(&self, name: &str) -> SocketAddr {
        let url = self.url(name);
        let (_, rest) = url.split_once("://").expect("a URL");
        rest.parse().unwrap_or_else(|_| panic!("no port in {url}"))
    }

    /// Where gRPC is served first.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.url("grpc").parse().expect("an address of a server")
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.endpoint())
            .await
            .expect("a connection")
    }

    pub(crate) fn pid(&self) -> Pid {
        let pid = self.child.id().expect("it has not ended");
        Pid::from_raw(pid.cast_signed()).expect("a pid")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it has not ended");
    }

    /// A number of its `/proc/PID/status`.
    pub(crate) fn status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = fs::read_to_string(path).expect("remexd lives");
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let value = line.expect("the key").trim_start_matches(':');
        value
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .expect("a number")
    }

    /// What it keeps in memory, in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.status("VmRSS") * 1024
    }

    /// How many descriptors it has open.
    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        fs::read_dir(folder).expect("its descriptors").count()
    }

    /// The memory that is its own, in MiB.
    pub(crate) fn memory_mib(&self) -> usize {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its status");
        let mut words = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("its memory")
            .split_whitespace();
        let kib: usize = words.next().expect("a number").parse().expect("a number");
        kib / 1024
    }

    /// Its exit.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        soon("remexd's exit", self.child.wait())
            .await
            .expect("a child")
    }

    /// Ends it as a service manager does, and asserts that it drained.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait().await;
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Its process is killed by the child's own drop.
        if thread::panicking() {
            eprintln!("--- remexd's log\n{}---", self.home.log());
        }
    }
}

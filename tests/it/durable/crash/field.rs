//! A server that dies and comes back at the same address, and many who call it meanwhile.

use std::{fs, os::unix::process::ExitStatusExt, process::Stdio, sync::Arc, time::Duration};

use remex_client::{Client, Command};
use rustix::process::{Signal, kill_process};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    caller::{Caller, Watched, Way},
    job::Job,
};
use crate::{
    harness::{Daemon, Home, LOOK_AGAIN},
    supervision::support::Random,
};

/// A call with all its losses takes no longer; only a failure waits for it.
const CALL_PATIENCE: Duration = Duration::from_mins(5);

/// So many connections are shared by all who call through the library.
const CLIENTS: usize = 8;

/// Characters of an execution's id.
const ID_CHARACTERS: usize = 36;

/// Attached commands that run beside.
const BESIDE: usize = 4;

/// The points of a start at which a server can be killed, its own and its supervisors'.
pub(super) const POINTS: [&str; 12] = [
    "taken", "claimed", "sent", "answered", "followed", "ordered", "reserved", "launched",
    "executed", "started", "exited", "recorded",
];

/// How a server is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fall {
    /// At this point of the next execution that comes to it.
    At(&'static str),
    /// After so many milliseconds.
    After(usize),
    /// After so many, and its follower so long after it was executed.
    Twice(usize, usize),
}

/// One server after the other.
pub(super) struct Field {
    home: Home,
    listen: String,
    daemon: Option<Daemon>,
}

impl Field {
    pub(super) async fn new() -> Self {
        let home = Home::new();
        let listen = format!("unix:{}", home.path("remexd.sock").display());
        let mut field = Self {
            home,
            listen,
            daemon: None,
        };
        field.revive().await;
        field
    }

    /// One that serves by now.
    pub(super) fn of(daemon: Daemon) -> Self {
        Self {
            home: daemon.home().clone(),
            listen: daemon.url("grpc").to_owned(),
            daemon: Some(daemon),
        }
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    pub(super) fn address(&self) -> &str {
        &self.listen
    }

    /// Kills it in this way, and has another follow it.
    pub(super) async fn fall(&mut self, fall: Fall) {
        match fall {
            Fall::At(point) => {
                // Whole, as it may be read at any time.
                let (new, armed) = (self.home.path("armed"), "state/durable/crash-at");
                fs::write(&new, point).expect("a file");
                fs::rename(new, self.home.path(armed)).expect("its name");
                self.falls(point).await;
            }
            Fall::After(millis) => self.kill_after(millis).await,
            Fall::Twice(millis, again) => {
                self.kill_after(millis).await;
                self.stillborn(again).await;
            }
        }
        self.revive().await;
    }

    async fn kill_after(&mut self, millis: usize) {
        sleep(Duration::from_millis(millis as u64)).await;
        self.daemon
            .as_ref()
            .expect("it serves")
            .signal(Signal::KILL);
        self.falls("no point").await;
    }

    /// It is killed by somebody.
    async fn falls(&mut self, point: &str) {
        let mut daemon = self.daemon.take().expect("it serves");
        let status = daemon.wait().await;
        assert_eq!(status.signal(), Some(9), "at {point}: {status}");
    }

    /// One that is killed while it looks at what was left.
    async fn stillborn(&self, millis: usize) {
        let log = fs::File::options().append(true).open(self.home.path("log"));
        let mut child = self
            .home
            .remexd(&["--listen", &self.listen])
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("remexd runs");
        sleep(Duration::from_millis(millis as u64)).await;
        child.kill().await.expect("it is killed");
    }

    async fn revive(&mut self) {
        let flags = ["--listen", &self.listen];
        self.daemon = Some(Daemon::start_in(&self.home, &flags).await);
    }

    /// The ids of all executions that have a folder, those that wait for a command too.
    pub(super) fn folders(&self) -> Vec<String> {
        let folders = fs::read_dir(self.home.path("state/durable")).expect("a folder");
        let names = folders.filter_map(|folder| folder.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter(|name| name.len() == ID_CHARACTERS).collect();
        names.sort();
        names
    }

    /// Has the supervisor of `id` die at `point`, if it comes there.
    pub(super) fn arm_supervisor(&self, id: &str, point: &str) {
        let file = self.home.path("state/durable").join(id).join("crash-at");
        // Its folder may go at any time.
        let _ = fs::write(file, point);
    }

    pub(super) fn kill_supervisor(&self, id: &str) {
        if let Some(supervisor) = self.home.supervisor_of(id) {
            // It may end at any time.
            let _ = kill_process(supervisor, Signal::KILL);
        }
    }

    /// Looks at all that was asked for, and ends.
    pub(super) async fn close(self, all: Vec<Watched>) {
        let client = Way::to(&self.listen).client;
        let mut checks = JoinSet::new();
        for mut watched in all {
            let client = client.clone();
            checks.spawn(async move { watched.replay(&client).await });
        }
        checks.join_all().await;
        let log = self.home.log();
        for word in ["is left alone", "panicked", "has failed"] {
            assert!(!log.contains(word), "{word:?} in the log:\n{log}");
        }
        self.daemon.expect("it serves").stop().await;
    }
}

/// Connections that are shared by all who call.
pub(super) fn ways(address: &str) -> Vec<Way> {
    (0..CLIENTS).map(|_| Way::to(address)).collect()
}

/// Those who call.
pub(super) struct Calls {
    gate: Arc<Semaphore>,
    running: JoinSet<Watched>,
    beside: JoinSet<()>,
}

impl Calls {
    /// One for each of `jobs`, which waits until it is let go.
    pub(super) fn prepare(jobs: Vec<Job>, address: &str, random: &mut Random) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let ways = ways(address);
        let mut running = JoinSet::new();
        for (number, job) in jobs.into_iter().enumerate() {
            let callers = Caller::of(job.kind);
            let caller = callers[random.below(callers.len())];
            let way = ways[number % CLIENTS].clone();
            let gate = Arc::clone(&gate);
            let mut watched = Watched::new(job);
            running.spawn(async move {
                gate.acquire().await.expect("it is open").forget();
                let name = watched.job.name.clone();
                let asked = timeout(CALL_PATIENCE, watched.ask(caller, &way)).await;
                asked.unwrap_or_else(|_| panic!("{name}: {caller:?} does not end"));
                watched
            });
        }
        let mut beside = JoinSet::new();
        for way in &ways[..BESIDE] {
            beside.spawn(run_beside(way.client.clone()));
        }
        Self {
            gate,
            running,
            beside,
        }
    }

    /// Lets so many more of them call.
    pub(super) fn release(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    pub(super) fn are_over(&self) -> bool {
        self.running.is_empty()
    }

    /// Those that have got their end since it was asked last.
    pub(super) fn ended(&mut self) -> Vec<Watched> {
        let mut ended = Vec::new();
        while let Some(watched) = self.running.try_join_next() {
            ended.push(watched.expect("no panic"));
        }
        ended
    }

    /// All of them, when the last has got its end.
    pub(super) async fn end(mut self) -> Vec<Watched> {
        self.release(self.running.len());
        let mut ended = Vec::new();
        while let Some(watched) = self.running.join_next().await {
            ended.push(watched.expect("no panic"));
        }
        self.beside.abort_all();
        ended
    }
}

/// Commands that end with their server; what is told of them is true all the same.
async fn run_beside(client: Client) {
    loop {
        match client.run(Command::shell("echo it; exit 3")).await {
            Ok(outcome) => {
                assert_eq!(
                    (&outcome.stdout[..], outcome.exit.code),
                    (&b"it\n"[..], Some(3))
                );
            }
            Err(_) => sleep(LOOK_AGAIN).await,
        }
    }
}

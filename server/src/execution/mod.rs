//! Executions as callers know them: who started which, what became of them, and how to reach one that runs.
//!
//! [`Executions::start`] spawns, hands the process to a host of its own, and keeps a record in the `registry`.

mod log;
mod registry;
mod retirement;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::future::join_all;
use remex_daemon::net::{Caller, Transport};
use remex_supervisor::{
    lifecycle::{
        counters::Counters,
        engine::Engine,
        event::Exit,
        life::{Cause, Life},
        stdin::{Stdin, StdinChunk, StdinError},
    },
    process::{
        CommandSpec, Process, SpawnProgress, Spawner, StartError, StdinSpec, Stdio, WindowSize,
        allocation,
    },
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::sleep_until,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

pub use self::registry::{ENDED_BYTES, ENDED_KEPT, ENDED_RECORDS, Filter, Page};
use self::{registry::Registry, retirement::Retirement};
use crate::{
    attached::{
        host::Host,
        mailbox::{Control, Link, StdinRequest, mailbox},
        outlet::AttachedOutlet,
        waiting_stdin::{StdinMemory, StdinRoom, StdinShare},
    },
    budget::{Budget, Share},
    id::new_id,
};

/// Executions at once, where nothing else is configured.
pub const DEFAULT_MAX_EXECUTIONS: usize = 2000;

/// What the records of all executions, and the stdin that running ones were given at their start, may take in memory.
pub const RECORD_BYTES: usize = 512 * 1024 * 1024;

/// What a caller asks for.
#[derive(Debug)]
pub struct NewExecution {
    /// The command.
    pub spec: CommandSpec,
    /// The first bytes of stdin.
    pub stdin: Bytes,
    /// stdin goes on after them.
    pub stdin_open: bool,
    /// Its output is waited for to the end, not only as long as its leader runs.
    pub until_end: bool,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Who asks.
    pub caller: Caller,
    /// What it came through.
    pub through: Through,
}

/// What a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Through {
    /// How the caller is connected.
    pub transport: Transport,
    /// A gateway asks, for a client of its own.
    pub gateway: bool,
    /// That client's address as the gateway tells it, where it is another than the caller's. Nothing here believes it.
    pub client: Option<IpAddr>,
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.gateway { "gateway " } else { "grpc " })?;
        f.write_str(match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
        })?;
        match self.client {
            Some(client) => write!(f, " for {client}"),
            None => Ok(()),
        }
    }
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The server shuts down.
    #[error("the server is shutting down; try again when it is back")]
    Draining,
    /// As many run as may.
    #[error("{0} executions run already, which is the limit; try again when one has ended")]
    TooMany(usize),
    /// Commands and their stdin take as much memory as they may.
    #[error(
        "the commands that run take all the memory that is there for their arguments and stdin; try again when one has ended, or send stdin by Write"
    )]
    Memory,
    /// The command could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The execution has ended, so it cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// One execution, running or ended.
#[derive(Debug)]
pub struct Execution {
    /// Its identity.
    pub id: Uuid,
    /// What it runs.
    pub spec: CommandSpec,
    /// Its output is read to the end of file, not only as long as its leader runs.
    pub until_end: bool,
    /// Its caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Who started it.
    pub caller: Caller,
    /// How its request came.
    pub through: Through,
    /// When it was asked for.
    pub created: SystemTime,
    /// Its leader's process id.
    pub pid: i32,
    /// How far it has come.
    pub counters: Arc<Counters>,
    /// What stdin may take that waits for it.
    pub stdin: StdinRoom,
    /// `None` once it has ended: its queues are not kept with its record.
    link: Mutex<Option<Link>>,
    end: OnceLock<(Exit, SystemTime)>,
    ended: CancellationToken,
    memory: Share,
}

/// All executions of the server.
#[derive(Debug)]
pub struct Executions {
    spawner: Spawner,
    registry: Registry,
    memory: Budget,
    stdin: StdinMemory,
    permits: Arc<Semaphore>,
    max: usize,
    draining: AtomicBool,
    /// Everything is to end, spawns that are under way too.
    ending: CancellationToken,
    /// Starts that are under way, and hosts.
    tasks: TaskTracker,
}

impl Executions {
    /// No executions yet, and at most `max` at once.
    pub fn new(spawner: Spawner, max: usize) -> Self {
        Self {
            spawner,
            registry: Registry::default(),
            memory: Budget::new(RECORD_BYTES),
            stdin: StdinMemory::default(),
            permits: Arc::new(Semaphore::new(max)),
            max,
            draining: AtomicBool::new(false),
            ending: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Starts a command. Dropped before it is done, it leaves nothing that runs.
    pub async fn start<O>(
        &self,
        new: NewExecution,
        outlet: impl FnOnce(Arc<Counters>) -> O,
    ) -> Result<Arc<Execution>, Refused>
    where
        O: AttachedOutlet + Send + Sync + 'static,
    {
        // Before the look at `draining`: a drain waits for every start that has not seen it.
        let _under_way = self.tasks.token();
        if self.draining.load(Ordering::Acquire) {
            return Err(Refused::Draining);
        }
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| Refused::TooMany(self.max))?;
        let created = SystemTime::now();
        let id = new_id();
        let (memory, stdin_memory) = self.take_memory(&new)?;
        let (process, stdio) = self.spawn(id, &new).await?;
        let (link, mailbox) = mailbox();
        let counters = Arc::new(Counters::default());
        let execution = Arc::new(Execution {
            id,
            pid: process.pid(),
            until_end: new.until_end,
            labels: new.labels,
            through: new.through,
            caller: new.caller,
            created,
            counters: Arc::clone(&counters),
            stdin: self.stdin.room(),
            link: Mutex::new(Some(link)),
            end: OnceLock::new(),
            ended: CancellationToken::new(),
            spec: new.spec.without_values(),
            memory,
        });
        let spec = &execution.spec;
        let engine = Engine::new(
            (process, stdio),
            Stdin::new(new.stdin, new.stdin_open, spec.terminal.is_some()),
            Life::new(spec.timeout, spec.kill_after).until_end(new.until_end),
            outlet(Arc::clone(&counters)),
            counters,
        );
        // Boxed: the future would be moved about with all of it inside.
        let host = Box::new(Host::new(engine, mailbox));
        self.registry.insert(Arc::clone(&execution));
        let retirement = Retirement::new(self.registry.clone(), Arc::clone(&execution));
        self.tasks.spawn(async move {
            let registry = retirement.registry.clone();
            host.run(permit, |exit| retirement.retire(*exit)).await;
            drop(stdin_memory);
            registry.forget();
        });
        if self.ending.is_cancelled() {
            // It was not there to be told with the others.
            let _ = execution.request(Control::End(Cause::Shutdown)).await;
        }
        Ok(execution)
    }

    /// Spawns the command of `new`, unless everything is to end before it runs.
    async fn spawn(&self, id: Uuid, new: &NewExecution) -> Result<(Process, Stdio), Refused> {
        let stdin = if new.stdin_open || !new.stdin.is_empty() {
            StdinSpec::Open
        } else {
            StdinSpec::Null
        };
        let name = id.to_string();
        let mut spawning = self.spawner.start(&name, &new.spec, stdin);
        loop {
            match spawning.poll(Instant::now()) {
                SpawnProgress::Started(process, stdio) => return Ok((process, stdio)),
                SpawnProgress::Failed(error) => return Err(error.into()),
                SpawnProgress::WaitUntil(time) => tokio::select! {
                    () = sleep_until(time.into()) => {}
                    () = self.ending.cancelled() => return Err(Refused::Draining),
                },
            }
        }
    }

    /// What the record and the stdin of `new` take, if that is there.
    fn take_memory(&self, new: &NewExecution) -> Result<(Share, Share), Refused> {
        let (mut record, mut stdin) = (self.memory.share(), self.memory.share());
        let bytes = size_of::<Execution>() + new.spec.cost() + labels_cost(&new.labels);
        let fits = record.grow(bytes) == bytes && stdin.grow(new.stdin.len()) == new.stdin.len();
        fits.then_some((record, stdin)).ok_or(Refused::Memory)
    }

    /// The execution `id`, if `caller` may see it.
    pub fn find(&self, id: Uuid, caller: &Caller) -> Option<Arc<Execution>> {
        self.registry
            .find(id)
            .filter(|execution| may_see(caller, &execution.caller))
    }

    /// A page of the executions that `caller` may see, newest first.
    pub fn list(&self, filter: &Filter, caller: &Caller) -> Page {
        self.registry
            .list(filter, |execution| may_see(caller, &execution.caller))
    }

    /// Forgets an execution that has ended.
    pub fn delete(&self, execution: &Execution) {
        self.registry.remove(execution);
    }

    /// How many may run at once.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How trees are kept together, for people.
    pub fn describe(&self) -> String {
        self.spawner.describe()
    }

    /// Looks after what ended commands left running; to be called now and then.
    pub fn sweep(&self) {
        self.spawner.sweep();
    }

    /// No new execution from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.tasks.close();
    }

    /// Returns when every execution has ended and its caller has been told; only after [`Self::drain`].
    pub async fn finished(&self) {
        self.tasks.wait().await;
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.max - self.permits.available_permits()
    }

    /// The longest time between TERM and KILL of those that run.
    pub fn longest_kill_after(&self) -> Duration {
        let running = self.registry.running();
        let times = running.iter().map(|execution| execution.spec.kill_after);
        times.max().unwrap_or_default()
    }

    /// Ends every execution, as `cause` says.
    pub async fn end_all(&self, cause: Cause) {
        self.ending.cancel();
        let running = self.registry.running();
        // One that has ended meanwhile needs no end, and none waits for another.
        join_all(running.iter().map(|one| one.request(Control::End(cause)))).await;
    }

    /// Kills every execution, also those that are being ended, for [`Cause::Shutdown`].
    pub async fn kill_all(&self) {
        self.end_all(Cause::Shutdown).await;
        let running = self.registry.running();
        join_all(
            running
                .iter()
                .map(|one| one.signal(rustix::process::Signal::KILL.as_raw())),
        )
        .await;
    }
}

/// A caller sees its own executions; the server's own user and root see all.
fn may_see(caller: &Caller, owner: &Caller) -> bool {
    let own = rustix::process::geteuid().as_raw();
    match (caller.uid, owner.uid) {
        (Some(uid), _) if uid == 0 || uid == own => true,
        (Some(uid), Some(owner)) => uid == owner,
        (None, None) => {
            let ip = |caller: &Caller| caller.address.map(|address| address.ip().to_canonical());
            ip(caller).is_some() && ip(caller) == ip(owner)
        }
        _ => false,
    }
}

impl Execution {
    /// How it ended and when, if it has.
    pub fn exit(&self) -> Option<&(Exit, SystemTime)> {
        self.end.get()
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Sends it a signal.
    pub async fn signal(&self, number: i32) -> Result<(), Ended> {
        let (answer, answered) = oneshot::channel();
        self.request(Control::Signal(number, answer)).await?;
        answered.await.map_err(|_| Ended)
    }

    /// Sets its window size; `false` if it has no terminal.
    pub async fn resize(&self, size: WindowSize) -> Result<bool, Ended> {
        let (answer, answered) = oneshot::channel();
        self.request(Control::Resize(size, answer)).await?;
        answered.await.map_err(|_| Ended)
    }

    /// Gives it stdin. Returns when all of the chunk has been accepted, with the position up to which stdin has been.
    /// `share` is what it takes of [`Self::stdin`].
    pub async fn write(
        &self,
        chunk: StdinChunk,
        share: StdinShare,
    ) -> Result<Result<u64, StdinError>, Ended> {
        let (answer, answered) = oneshot::channel();
        let request = StdinRequest::Chunk(chunk, share, answer);
        let stdin = self.link()?.stdin;
        stdin.send(request).await.map_err(|_| Ended)?;
        answered.await.map_err(|_| Ended)
    }

    /// Ends its stdin.
    pub async fn close_stdin(&self) -> Result<(), Ended> {
        let sent = self.link()?.stdin.send(StdinRequest::Close).await;
        sent.map_err(|_| Ended)
    }

    async fn request(&self, control: Control) -> Result<(), Ended> {
        let sent = self.link()?.control.send(control).await;
        sent.map_err(|_| Ended)
    }

    fn link(&self) -> Result<Link, Ended> {
        self.lock_link().clone().ok_or(Ended)
    }

    fn lock_link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, exit: Exit) {
        let _ = self.end.set((exit, SystemTime::now()));
        self.lock_link().take();
        self.ended.cancel();
    }

    /// What its record takes in memory.
    fn cost(&self) -> usize {
        self.memory.bytes()
    }
}

/// What labels take in memory.
fn labels_cost(labels: &BTreeMap<String, String>) -> usize {
    let strings = labels.iter().flat_map(|(key, value)| [key, value]);
    strings
        .map(|string| size_of::<String>() + allocation(string.len()))
        .sum()
}

//! All executions of the server: their start, their records, their end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use remex_daemon::net::Caller;
use remex_supervisor::{
    lifecycle::{counters::Counters, engine::Engine, life::Life, outcome::Cause, stdin::Stdin},
    process::{Process, SpawnProgress, Spawner, StartError, StdinSpec, Stdio, allocation},
};
use tokio::{sync::Semaphore, time::sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    Execution, NewExecution,
    registry::{Filter, Page, Registry},
    retirement::Retirement,
};
use crate::{
    attached::{
        host::AttachedHost,
        mailbox::{ControlRequest, mailbox},
        outlet::AttachedOutlet,
        waiting_stdin::StdinMemory,
    },
    budget::{Budget, Share},
    id::new_id,
};

/// Executions at once, where nothing else is configured.
pub const DEFAULT_MAX_EXECUTIONS: usize = 2000;

/// What the records of all executions, and the stdin that running ones were given at their start, may take in memory.
pub const RECORD_BYTES: usize = 512 * 1024 * 1024;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartRefused {
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
    ) -> Result<Arc<Execution>, StartRefused>
    where
        O: AttachedOutlet + Send + Sync + 'static,
    {
        // Before the look at `draining`: a drain waits for every start that has not seen it.
        let _under_way = self.tasks.token();
        if self.draining.load(Ordering::Acquire) {
            return Err(StartRefused::Draining);
        }
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| StartRefused::TooMany(self.max))?;
        let created = SystemTime::now();
        let id = new_id();
        let (memory, stdin_memory) = self.take_memory(&new)?;
        let (process, stdio) = self.spawn(id, &new).await?;
        let spawned = process.born();
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
            applied: self.spawner.applied(&new.spec),
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
        let host = Box::new(AttachedHost::new(engine, mailbox, spawned));
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
            let _ = execution
                .request(ControlRequest::End(Cause::Shutdown))
                .await;
        }
        Ok(execution)
    }

    /// Spawns the command of `new`, unless everything is to end before it runs.
    async fn spawn(&self, id: Uuid, new: &NewExecution) -> Result<(Process, Stdio), StartRefused> {
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
                    () = self.ending.cancelled() => return Err(StartRefused::Draining),
                },
            }
        }
    }

    /// What the record and the stdin of `new` take, if that is there.
    fn take_memory(&self, new: &NewExecution) -> Result<(Share, Share), StartRefused> {
        let (mut record, mut stdin) = (self.memory.share(), self.memory.share());
        let bytes = size_of::<Execution>() + new.spec.cost() + labels_cost(&new.labels);
        let fits = record.grow(bytes) == bytes && stdin.grow(new.stdin.len()) == new.stdin.len();
        fits.then_some((record, stdin)).ok_or(StartRefused::Memory)
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
        join_all(
            running
                .iter()
                .map(|one| one.request(ControlRequest::End(cause))),
        )
        .await;
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

/// What labels take in memory.
fn labels_cost(labels: &BTreeMap<String, String>) -> usize {
    let strings = labels.iter().flat_map(|(key, value)| [key, value]);
    strings
        .map(|string| size_of::<String>() + allocation(string.len()))
        .sum()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::{
        super::testing::{executions, shell},
        *,
    };
    use crate::attached::answer::AnswerOutlet;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn commands_that_run_share_512_mib_for_their_records_and_stdin() {
        const MIB: usize = 1_048_576;
        let folder = tempfile::tempdir().unwrap();
        let executions = executions(folder.path(), 2);
        let new = || NewExecution {
            stdin: vec![b'x'; 10_000].into(),
            labels: [("key".into(), "value".into())].into(),
            ..shell("exec cat")
        };
        let start = async |new| {
            let answers = Budget::new(MIB);
            let (outlet, mut answer) = AnswerOutlet::new(MIB, &answers);
            let execution = executions.start(new, |_| outlet).await?;
            let answered = timeout(PATIENCE, answer.recv()).await;
            assert_eq!(answered.unwrap().unwrap().collected.stdout.total, 10_000);
            Ok::<_, StartRefused>(execution)
        };
        // What it costs is found out by the first, whose record stays.
        let first = start(new()).await.unwrap();
        let cost = first.cost() + 10_000;
        assert!(first.cost() > "exec cat".len() + "key".len() + "value".len());
        timeout(PATIENCE, async {
            while executions.memory.free() != RECORD_BYTES - first.cost() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("its stdin is given back");
        let mut others = executions.memory.share();
        let most = 512 * MIB - first.cost() - cost;
        assert_eq!(others.grow(most + 1), most + 1);
        let refused = start(new()).await.unwrap_err();
        assert!(matches!(refused, StartRefused::Memory), "{refused}");
        // It has left nothing.
        assert_eq!(executions.running(), 0);
        assert_eq!(executions.memory.free(), cost - 1);
        drop(others);
        let mut others = executions.memory.share();
        assert_eq!(others.grow(most), most);
        start(new()).await.unwrap();
    }
}

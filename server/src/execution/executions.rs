//! All executions of the server: their start, their records, their end.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::join_all;
use remex_daemon::net::Caller;
use remex_supervisor::{
    lifecycle::{
        counters::Counters, engine::Engine, life::Life, outcome::Cause, outlet::EventOutlet,
        presence::OnDisconnect, stdin::Stdin,
    },
    process::{Process, Resolved, SpawnProgress, Spawner, StartError, StdinSpec, Stdio},
};
use tokio::time::sleep_until;
use uuid::Uuid;

use super::{
    AttachRefused, Attaching, Execution, Items, Liveness, Measures, NewExecution,
    permitted::{Permitted, permitted},
    registry::{Filter, Page},
    resources::{Admitted, Resources},
    retirement::Retirement,
    viewer::Viewer,
};
use crate::{
    attached::{
        answer::{AnswerOutlet, Answering},
        host::AttachedHost,
        live::{LargeRoom, Live},
        mailbox::{ControlRequest, mailbox},
        outlet::AttachedOutlet,
    },
    audit::{AuditLog, NotWritten},
    budget::Budget,
    durable::{DurableSettings, DurableStore, StoreError},
    id::new_id,
    policy::{gate::NotPermitted, question::OnOthers},
};

/// Executions at once, where nothing else is configured.
pub const DEFAULT_MAX_EXECUTIONS: usize = 2000;

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
    /// The policy gives no leave.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// It cannot be told, and nothing is to start without.
    #[error("nothing is started that cannot be told: {0}; try again when it can")]
    Untold(#[from] NotWritten),
    /// The command could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no room for another record.
    #[error("there is no room to store another execution ({0}); try again when there is")]
    StorageFull(String),
    /// Its start could not be written down, so it was not started.
    #[error("the execution cannot be stored, so nothing was started: {0}")]
    Storage(String),
    /// The request id stands for another request, which differs in this field.
    #[error("the request_id stands for another request: its {0} was another; choose another id")]
    RequestIdConflict(&'static str),
    /// The record behind the request id is gone.
    #[error(
        "the execution of this request_id is no longer kept, and the id stays taken; choose another id"
    )]
    RequestIdRetired,
    /// What the request id stands for cannot be told.
    #[error(
        "the request_id stands for an execution that this server cannot read, which its log names"
    )]
    LeftAlone,
    /// It was started, or found, and cannot be followed.
    #[error(transparent)]
    Attach(#[from] AttachRefused),
}

/// All executions of the server.
#[derive(Debug)]
pub struct Executions {
    spawner: Arc<Spawner>,
    resources: Resources,
    draining: AtomicBool,
    /// Of those whose outputs are read in large pieces.
    large: LargeRoom,
    durable: Arc<DurableStore>,
}

impl Executions {
    /// No executions yet, and at most `max` at once, whose ends are told in `audit`. Durable ones are kept in the state folder
    /// at `state_dir`.
    pub fn new(
        spawner: Arc<Spawner>,
        max: usize,
        state_dir: &Path,
        durable: DurableSettings,
        audit: AuditLog,
    ) -> Result<Self, StoreError> {
        let resources = Resources::new(max, audit);
        let store =
            DurableStore::open(state_dir, durable, Arc::clone(&spawner), resources.clone())?;
        Ok(Self {
            spawner,
            resources,
            draining: AtomicBool::new(false),
            large: LargeRoom::default(),
            durable: Arc::new(store),
        })
    }

    /// Looks for what an earlier server has left, before anybody is served; it goes on meanwhile.
    pub fn begin(&self) -> Result<(), StoreError> {
        self.durable.begin()
    }

    /// Starts a command, or finds the one that its request id stands for, and reads along. Dropped before it is done, it leaves
    /// nothing that runs; but for what is durable, whose caller has gone then.
    pub async fn start_live(
        &self,
        new: NewExecution,
        tells_accepted: bool,
    ) -> Result<(Arc<Execution>, Items), StartRefused> {
        let _under_way = self.enter()?;
        if new.durability.is_some() {
            return self.start_durable(new, tells_accepted).await;
        }
        let (live, received) = Live::new(tells_accepted, self.large.clone());
        let outlet = |counters| EventOutlet::new(live, counters);
        let execution = self.start_attached(new, outlet).await?;
        Ok((execution, Items::attached(received)))
    }

    /// The same, for its first bytes of output, up to `cap` of each stream, as far as there is a `budget` for them.
    pub async fn start_answer(
        &self,
        new: NewExecution,
        cap: usize,
        budget: &Budget,
    ) -> Result<(Arc<Execution>, Answering), StartRefused> {
        let _under_way = self.enter()?;
        if new.durability.is_some() {
            let (execution, items) = self.start_durable(new, false).await?;
            return Ok((execution, Answering::durable(items, cap, budget)));
        }
        let (outlet, answered) = AnswerOutlet::new(cap, budget);
        let execution = self.start_attached(new, |_| outlet).await?;
        Ok((execution, Answering::attached(answered)))
    }

    /// That a start is under way, which a drain waits for.
    fn enter(&self) -> Result<impl Sized + use<>, StartRefused> {
        // Before the look at `draining`: a drain waits for every start that has not seen it.
        let under_way = self.resources.tasks.token();
        if self.draining.load(Ordering::Acquire) {
            return Err(StartRefused::Draining);
        }
        Ok(under_way)
    }

    async fn start_durable(
        &self,
        mut new: NewExecution,
        tells_accepted: bool,
    ) -> Result<(Arc<Execution>, Items), StartRefused> {
        let Some(durability) = new.durability.take() else {
            return Err(AttachRefused::NotDurable.into());
        };
        if let Some(permit) = &new.permit {
            // Whoever joins what runs already has to have leave for it, too.
            permit.before(&new.spec)?;
        }
        let record = new.record.clone();
        let started = self.durable.start(new, durability).await?;
        record.about(started.execution.id);
        let how = Attaching {
            after: 0,
            no_follow: false,
            observer: false,
            tells_accepted,
        };
        let items = started.execution.attach(how).await?;
        Ok((started.execution, items))
    }

    /// Starts a command that ends with its caller.
    pub(super) async fn start_attached<O>(
        &self,
        mut new: NewExecution,
        outlet: impl FnOnce(Arc<Counters>) -> O,
    ) -> Result<Arc<Execution>, StartRefused>
    where
        O: AttachedOutlet + Send + Sync + 'static,
    {
        let Admitted {
            place,
            memory,
            stdin: stdin_memory,
        } = self.resources.admit(&new)?;
        let created = SystemTime::now();
        let id = new_id();
        let asked = Instant::now();
        let span = new.trace.execution(&new.spec);
        new.spec.passed = span.variables();
        let (process, stdio) = match new.permit.take() {
            None => self.spawn(id, &new, None).await,
            Some(permit) => {
                let ending = &self.resources.ending;
                let permitted = permitted(&self.spawner, ending, &permit, &mut new.spec);
                let Permitted { resolved, rule } = permitted.await?;
                new.record.allowed(Some(&rule));
                self.spawn(id, &new, Some(resolved)).await
            }
        }?;
        new.record.started();
        self.resources.measures.spawned(asked.elapsed());
        let spawned = process.born();
        span.started(id, process.pid());
        let (link, mailbox) = mailbox();
        let counters = Arc::new(Counters::adding_to(Arc::clone(
            self.resources.measures.totals(),
        )));
        let execution = Arc::new(Execution {
            id,
            pid: process.pid(),
            until_end: new.until_end,
            labels: new.labels,
            through: new.through,
            caller: new.caller,
            created,
            counters: Arc::clone(&counters),
            stdin: self.resources.stdin.room(),
            applied: self.spawner.applied(&new.spec),
            spec: new.spec.without_values(),
            kept: None,
            memory,
            life: Liveness::running(link, span),
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
        self.resources.registry.insert(Arc::clone(&execution));
        let retirement = Retirement::new(&self.resources, Arc::clone(&execution));
        self.resources.tasks.spawn(async move {
            let registry = retirement.registry.clone();
            host.run(place, |exit| retirement.retire(*exit)).await;
            drop(stdin_memory);
            registry.forget();
        });
        if self.resources.ending.is_cancelled() {
            // It was not there to be told with the others.
            let _ = execution
                .request(ControlRequest::End(Cause::Shutdown))
                .await;
        }
        Ok(execution)
    }

    /// Spawns the command of `new`, unless everything is to end before it runs.
    async fn spawn(
        &self,
        id: Uuid,
        new: &NewExecution,
        resolved: Option<Resolved>,
    ) -> Result<(Process, Stdio), StartRefused> {
        let stdin = StdinSpec::of(&new.stdin, new.stdin_open);
        let told = new.record.starting(id);
        let name = id.to_string();
        let spawner = &self.spawner;
        let mut spawning = match resolved {
            None => spawner.start(&name, &new.spec, stdin),
            Some(resolved) => spawner.start_resolved(&name, &new.spec, stdin, resolved),
        };
        // What the command needs is made while its line is written.
        told.await?;
        spawning.release();
        loop {
            match spawning.poll(Instant::now()) {
                SpawnProgress::Started(process, stdio) => return Ok((process, stdio)),
                SpawnProgress::Failed(error) => return Err(error.into()),
                SpawnProgress::WaitUntil(time) => tokio::select! {
                    () = sleep_until(time.into()) => {}
                    () = self.resources.ending.cancelled() => return Err(StartRefused::Draining),
                },
            }
        }
    }

    /// The execution `id`, if `viewer` may do `what` to it.
    pub async fn find(&self, id: Uuid, viewer: &Viewer, what: OnOthers) -> Option<Arc<Execution>> {
        let found = self.durable.find(id).await;
        found.filter(|execution| viewer.may(what, &execution.caller))
    }

    /// The execution that `caller` has given this id.
    pub async fn find_request(
        &self,
        request_id: &str,
        caller: &Caller,
    ) -> Result<Option<Arc<Execution>>, StartRefused> {
        self.durable.find_request(caller, request_id).await
    }

    /// A page of the executions that `viewer` may see, newest first.
    pub async fn list(&self, filter: &Filter, viewer: &Viewer) -> Page {
        self.durable.recovered().await;
        let sees_others = viewer.may_on_others(OnOthers::See);
        let page = self.resources.registry.list(filter, |execution| {
            sees_others || viewer.is_owner(&execution.caller)
        });
        join_all(page.executions.iter().map(|execution| execution.refresh())).await;
        page
    }

    /// Forgets an execution that has ended.
    pub async fn delete(&self, execution: &Arc<Execution>) -> Result<(), StoreError> {
        if execution.kept.is_some() {
            return self.durable.delete(execution).await;
        }
        self.resources.registry.remove(execution);
        Ok(())
    }

    /// What starts them.
    pub fn spawner(&self) -> &Arc<Spawner> {
        &self.spawner
    }

    /// What all of them come to.
    pub fn measures(&self) -> &Measures {
        &self.resources.measures
    }

    /// How many may run at once.
    pub fn max(&self) -> usize {
        self.resources.places.most()
    }

    /// So many may run at once from now on; those that run, run on.
    pub fn set_max(&self, max: usize) {
        self.resources.places.set_most(max);
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
        self.resources.tasks.close();
    }

    /// Returns when every execution has ended and its caller has been told; only after [`Self::drain`].
    pub async fn finished(&self) {
        self.resources.tasks.wait().await;
    }

    /// Lets go of what is durable, which runs on.
    pub async fn close(&self) {
        self.durable.close().await;
    }

    /// How many run.
    pub fn running(&self) -> usize {
        self.resources.places.taken()
    }

    /// Those that run and that nobody could come back to.
    fn ending_in_a_drain(&self) -> Vec<Arc<Execution>> {
        let mut running = self.resources.registry.running();
        running.retain(|execution| {
            let kept = execution.kept.as_ref();
            kept.is_none_or(|kept| kept.durability.on_disconnect == OnDisconnect::Kill)
        });
        running
    }

    /// The longest time between TERM and KILL of those that run.
    pub fn longest_kill_after(&self) -> Duration {
        let running = self.ending_in_a_drain();
        let times = running.iter().map(|execution| execution.spec.kill_after);
        times.max().unwrap_or_default()
    }

    /// Ends every execution that a drain ends, as `cause` says.
    pub async fn end_all(&self, cause: Cause) {
        self.resources.ending.cancel();
        let running = self.ending_in_a_drain();
        // One that has ended meanwhile needs no end, and none waits for another.
        join_all(
            running
                .iter()
                .map(|one| one.request(ControlRequest::End(cause))),
        )
        .await;
    }

    /// Kills them, also those that are being ended, for [`Cause::Shutdown`].
    pub async fn kill_all(&self) {
        self.end_all(Cause::Shutdown).await;
        let running = self.ending_in_a_drain();
        join_all(
            running
                .iter()
                .map(|one| one.signal(rustix::process::Signal::KILL.as_raw())),
        )
        .await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::{
        super::testing::{executions, shell},
        *,
    };
    use crate::{attached::answer::AnswerOutlet, execution::RECORD_BYTES};

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
            let execution = executions.start_attached(new, |_| outlet).await?;
            let answered = timeout(PATIENCE, answer.recv()).await;
            assert_eq!(answered.unwrap().unwrap().collected.stdout.total, 10_000);
            Ok::<_, StartRefused>(execution)
        };
        // What it costs is found out by the first, whose record stays.
        let first = start(new()).await.unwrap();
        let cost = first.cost() + 10_000;
        assert!(first.cost() > "exec cat".len() + "key".len() + "value".len());
        timeout(PATIENCE, async {
            while executions.resources.memory.free() != RECORD_BYTES - first.cost() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("its stdin is given back");
        let mut others = executions.resources.memory.share();
        let most = 512 * MIB - first.cost() - cost;
        assert_eq!(others.grow(most + 1), most + 1);
        let refused = start(new()).await.unwrap_err();
        assert!(matches!(refused, StartRefused::Memory), "{refused}");
        // It has left nothing.
        assert_eq!(executions.running(), 0);
        assert_eq!(executions.resources.memory.free(), cost - 1);
        drop(others);
        let mut others = executions.resources.memory.share();
        assert_eq!(others.grow(most), most);
        start(new()).await.unwrap();
    }
}

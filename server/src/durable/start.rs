//! The start of a durable execution: its request id is claimed, a supervisor that waits gets its order, and what became of it
//! is known before anybody is told. Once it is under way it goes on, whether or not its caller waits.

use std::{
    os::fd::AsFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use remex_daemon::net::Caller;
use remex_supervisor::{
    durable::{
        FolderLock, Order,
        crash::{self, CrashPoint},
        message::Report,
    },
    journal::{self, Claim, ClaimError, Claimed, Folder, RequestKey, Reservation, Settings},
    lifecycle::counters::Counters,
    process::{AppliedParts, NotStarted, ResolveProgress, Resolved, StartError},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{sleep_until, timeout};
use uuid::Uuid;

use super::{
    details,
    digest::Compared,
    host::DurableHost,
    kept::{Durability, Kept},
    request_ids::Held,
    seats::Seat,
    spare::{NoSpare, Spare, next_report},
    stock::LEAST,
    store::DurableStore,
};
use crate::{
    attached::mailbox::mailbox,
    execution::{Admitted, Execution, Liveness, NewExecution, Permitted, StartRefused, permitted},
    traces::ExecutionSpan,
};

/// A supervisor that has said nothing of a start for so long is killed: a spawn that the kernel holds it gives up sooner.
const START_BOUND: Duration = Duration::from_secs(20);

/// So many supervisors are lost, one after the other, before a start is given up of which nothing ran: as many as always wait, and
/// one more.
const MOST_LOST: usize = LEAST + 1;

/// The execution that a caller asked for.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) execution: Arc<Execution>,
    /// The caller's place, until it reads along.
    #[expect(dead_code, reason = "is held")]
    pub(crate) seat: Option<Seat>,
}

/// The key of a request id, if there is one.
pub(super) fn request_key(caller: &Caller, durability: &Durability) -> Option<RequestKey> {
    let request_id = durability.request_id.as_deref()?;
    Some(RequestKey::new(&caller.to_string(), request_id))
}

/// One start, on its way.
struct Start {
    store: Arc<DurableStore>,
    new: NewExecution,
    span: ExecutionSpan,
    durability: Durability,
    compared: Compared,
    key: Option<RequestKey>,
    admitted: Admitted,
    /// Nobody else starts under its request id.
    _held: Option<Held>,
}

/// What came of a supervisor that was given an order.
enum Begun {
    Started(Started),
    /// It was lost, and nothing ran: what is needed to try another one.
    Lost(Box<(Start, Resolved)>),
}

impl DurableStore {
    /// Starts `new`, or finds the execution that its request id stands for.
    pub(crate) async fn start(
        self: &Arc<Self>,
        mut new: NewExecution,
        durability: Durability,
    ) -> Result<Started, StartRefused> {
        let compared = Compared::of(&new, &durability);
        let key = request_key(&new.caller, &durability);
        let held = match key {
            Some(key) => Some(self.ids.hold(key).await),
            None => None,
        };
        if let Some(key) = key
            && let Some(execution) = self.existing(key, &compared).await?
        {
            return Ok(Started {
                execution,
                seat: None,
            });
        }
        let admitted = self.resources.admit(&new)?;
        self.make_room(&new.caller, key.is_some()).await?;
        let span = new.trace.execution(&new.spec);
        new.spec.passed = span.variables();
        let mut start = Start {
            store: Arc::clone(self),
            new,
            span,
            durability,
            compared,
            key,
            admitted,
            _held: held,
        };
        let asked = Instant::now();
        let resolved = start.resolve().await?;
        let started = self.tasks.spawn(start.begin(resolved));
        match started.await {
            Ok(started) => started.inspect(|_| self.resources.measures.spawned(asked.elapsed())),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The execution that a request id stands for.
    async fn existing(
        &self,
        key: RequestKey,
        compared: &Compared,
    ) -> Result<Option<Arc<Execution>>, StartRefused> {
        let Some(claim) = self.claim_of(key).await? else {
            return Ok(None);
        };
        if let Some(field) = compared.first_difference(&claim.digest) {
            return Err(StartRefused::RequestIdConflict(field));
        }
        if claim.retired_at.is_some() {
            return Err(StartRefused::RequestIdRetired);
        }
        let id = Uuid::try_parse(&claim.execution_id).ok();
        if let Some(id) = id {
            if let Some(execution) = self.find(id).await {
                return Ok(Some(execution));
            }
            if self.is_left_alone(id) {
                return Err(StartRefused::LeftAlone);
            }
        }
        // A crash came between the claim and the start, or the start failed: nothing ran.
        self.ids.release(key).await?;
        Ok(None)
    }

    /// Who has a request id. That nobody has it is believed only where no power cut may have taken the claim: else once
    /// every journal, which has it too, has been looked at.
    async fn claim_of(&self, key: RequestKey) -> Result<Option<Claim>, StartRefused> {
        if let Some(claim) = self.ids.find(key).await? {
            return Ok(Some(claim));
        }
        if self.has_all_claims.load(Ordering::Acquire) {
            return Ok(None);
        }
        self.recovered().await;
        if self.closing.is_cancelled() {
            // It goes before it has looked at all of them.
            return Err(StartRefused::Draining);
        }
        Ok(self.ids.find(key).await?)
    }

    /// The execution that `caller` knows as `request_id`.
    pub(crate) async fn find_request(
        &self,
        caller: &Caller,
        request_id: &str,
    ) -> Result<Option<Arc<Execution>>, StartRefused> {
        let key = RequestKey::new(&caller.to_string(), request_id);
        // A start that is under way is waited for.
        let _held = self.ids.hold(key).await;
        let Some(claim) = self.claim_of(key).await? else {
            return Ok(None);
        };
        if claim.retired_at.is_some() {
            return Err(StartRefused::RequestIdRetired);
        }
        match Uuid::try_parse(&claim.execution_id) {
            Ok(id) => Ok(self.find(id).await),
            Err(_) => Ok(None),
        }
    }
}

impl Start {
    /// Looks everything up that the command needs.
    async fn resolve(&mut self) -> Result<Resolved, StartRefused> {
        let spawner = &self.store.recovery.spawner;
        let ending = &self.store.resources.ending;
        if let Some(permit) = self.new.permit.take() {
            let permitted = permitted(spawner, ending, &permit, &mut self.new.spec);
            let Permitted { resolved, rule } = permitted.await?;
            self.new.record.allowed(Some(&rule));
            return Ok(resolved);
        }
        let mut resolving = spawner.resolve(&self.new.spec);
        loop {
            match resolving.poll(Instant::now()) {
                ResolveProgress::Resolved(resolved) => return Ok(*resolved),
                ResolveProgress::Failed(error) => return Err(error.into()),
                ResolveProgress::WaitUntil(time) => tokio::select! {
                    () = sleep_until(time.into()) => {}
                    () = ending.cancelled() => return Err(StartRefused::Draining),
                },
            }
        }
    }

    /// Has a supervisor start it; another one, where that is lost before anything ran.
    async fn begin(mut self, mut resolved: Resolved) -> Result<Started, StartRefused> {
        for lost in 0..MOST_LOST {
            if lost > 0 {
                self.new.record.did_not_start();
            }
            match self.begin_with_one(resolved).await? {
                Begun::Started(started) => return Ok(started),
                Begun::Lost(lost) => (self, resolved) = *lost,
            }
        }
        Err(StartError::Resources {
            step: "start a supervisor",
            source: std::io::Error::other("each was lost before anything ran"),
        }
        .into())
    }

    async fn begin_with_one(self, resolved: Resolved) -> Result<Begun, StartRefused> {
        let mut spare = self.store.spares.take().await?;
        self.reach(CrashPoint::Taken);
        if let Err(error) = spare.place.limit(self.new.spec.limits.tree) {
            self.store.spares.maker.discard(spare).await;
            return Err(error.into());
        }
        if let Err(error) = self.new.record.starting(spare.id).await {
            self.store.spares.maker.discard(spare).await;
            return Err(error.into());
        }
        let claim = match self.claim(spare.id).await {
            Ok(claim) => claim,
            Err(error) => {
                self.store.spares.maker.discard(spare).await;
                return Err(error);
            }
        };
        self.reach(CrashPoint::Claimed);
        let created = SystemTime::now();
        let order = self.order(resolved, claim, created);
        let sent = spare.link.get_ref().start(&order, &spare.place);
        self.reach(CrashPoint::Sent);
        let report = match sent {
            Ok(()) => timeout(START_BOUND, first_report(&mut spare)).await,
            Err(error) => {
                tracing::warn!(id = %spare.id, %error, "a supervisor that waited takes no order");
                Ok(None)
            }
        };
        self.reach(CrashPoint::Answered);
        match report {
            Ok(Some(Report::Started { pid, time })) => {
                Ok(Begun::Started(self.started(spare, (pid, time), created)))
            }
            Ok(Some(Report::NotStarted(why))) => {
                let error = refusal(&order, &why);
                self.nothing_ran().await;
                self.store.spares.maker.discard(spare).await;
                Err(error)
            }
            Ok(_) => self.lost(spare, order.resolved).await,
            Err(_) => {
                self.kill_supervisor(spare.id).await;
                self.lost(spare, order.resolved).await
            }
        }
    }

    /// Where a test may have the server die.
    fn reach(&self, point: CrashPoint) {
        crash::server_at(point, self.store.journals.as_fd());
    }

    /// Takes the request id for the execution `id`.
    async fn claim(&self, id: Uuid) -> Result<Option<Claim>, StartRefused> {
        let (Some(key), Some(request_id)) = (self.key, &self.durability.request_id) else {
            return Ok(None);
        };
        let mut salt = [0; 16];
        let random = self.store.journals.random(&mut salt);
        random.map_err(|source| StartError::Resources {
            step: "get random bytes",
            source,
        })?;
        let claim = Claim {
            execution_id: id.to_string(),
            key,
            digest: self.compared.digest(salt),
            caller: self.new.caller.to_string(),
            request_id: request_id.clone(),
            boot_id: self.store.recovery.boot_id,
            retired_at: None,
        };
        for _ in 0..2 {
            match self.store.ids.claim(claim.clone()).await? {
                Claimed::New => {
                    self.store.taken_ids.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(claim));
                }
                // Nothing ran under it, or its journal would have put it right by now.
                Claimed::Torn => self.store.ids.release(key).await?,
                // Nobody else could, in the meantime.
                Claimed::Taken(_) => break,
            }
        }
        Err(StartRefused::LeftAlone)
    }

    fn applied(&self) -> Option<AppliedParts> {
        self.store.recovery.spawner.applied(&self.new.spec)
    }

    fn order(&self, resolved: Resolved, claim: Option<Claim>, created: SystemTime) -> Order {
        let Self {
            new, durability, ..
        } = self;
        Order {
            resolved,
            terminal: new.spec.terminal.as_ref().map(|terminal| terminal.size),
            stdin: new.stdin.clone(),
            stdin_open: new.stdin_open,
            timeout: new.spec.timeout,
            kill_after: new.spec.kill_after,
            drain_to_end: new.until_end,
            on_disconnect: durability.on_disconnect,
            settings: Settings {
                keep: durability.keep,
                reserve_bytes: self.store.reserve_bytes,
            },
            reservation: Reservation {
                claim,
                boot_id: self.store.recovery.boot_id,
                time: created,
                details: details::encode(new, durability, self.applied()),
            },
        }
    }

    /// It runs.
    fn started(self, spare: Spare, (pid, time): (i32, SystemTime), created: SystemTime) -> Started {
        self.new.record.started();
        let applied = self.applied();
        let Self {
            store,
            new,
            span,
            durability,
            admitted,
            ..
        } = self;
        let kept = Kept::new(
            durability,
            store.journals.clone(),
            store.files.clone(),
            store.closing.child_token(),
            Some(time),
        );
        let Spare { id, tree, link, .. } = spare;
        span.started(id, pid);
        let (reached, mailbox) = mailbox();
        let execution = Arc::new(Execution {
            id,
            pid,
            until_end: new.until_end,
            labels: new.labels,
            through: new.through,
            caller: new.caller,
            created,
            counters: Arc::new(Counters::adding_to(Arc::clone(
                store.resources.measures.totals(),
            ))),
            stdin: store.resources.stdin.room(),
            applied,
            spec: new.spec.without_values(),
            kept: Some(Arc::clone(&kept)),
            memory: admitted.memory,
            life: Liveness::running(reached, span),
        });
        // The supervisor takes it that a caller is there.
        let seat = kept.seats.take(false, 0, None);
        let host = DurableHost::new(link, mailbox, Arc::clone(&execution), kept).with_caller();
        store.resources.registry.insert(Arc::clone(&execution));
        store.host(host, Some(tree), Some(admitted.place));
        crash::server_at(CrashPoint::Followed, store.journals.as_fd());
        Started {
            execution,
            seat: Some(seat),
        }
    }

    /// The supervisor has gone without a word: its journal says what became of it.
    async fn lost(self, spare: Spare, resolved: Resolved) -> Result<Begun, StartRefused> {
        let Spare { id, link, .. } = spare;
        drop(link);
        self.store.recover_one(id).await;
        if let Some(execution) = self.store.resources.registry.find(id) {
            self.new.record.started();
            return Ok(Begun::Started(Started {
                execution,
                seat: None,
            }));
        }
        if self.store.is_left_alone(id) {
            return Err(StartRefused::LeftAlone);
        }
        if self.store.closing.is_cancelled() {
            // Nobody has looked: the next server does, and the request id stays taken until then.
            return Err(StartRefused::Draining);
        }
        self.nothing_ran().await;
        Ok(Begun::Lost(Box::new((self, resolved))))
    }

    async fn nothing_ran(&self) {
        if let Some(key) = self.key
            && let Err(error) = self.store.ids.release(key).await
        {
            // Whoever comes next finds that nothing ran.
            tracing::warn!(%error, "cannot free the request id of a command that was not started");
        }
    }

    /// Ends one that does not answer, so that what became of its start can be told.
    async fn kill_supervisor(&self, id: Uuid) {
        let journals = self.store.journals.clone();
        let kill = move || -> Option<()> {
            let folder = journal::open(&journals, &id.to_string()).ok()?;
            let holder = FolderLock::holder(folder.as_fd()).ok()??;
            kill_process(Pid::from_raw(holder)?, Signal::KILL).ok()
        };
        if self.store.files.run(kill).await.is_some() {
            tracing::warn!(%id, "killed a supervisor that did not say what became of a start");
        }
    }
}

/// The first report that says what became of the start.
async fn first_report(spare: &mut Spare) -> Option<Report> {
    loop {
        match next_report(&mut spare.link).await {
            Ok(Some(report @ (Report::Started { .. } | Report::NotStarted(_)))) => {
                return Some(report);
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn refusal(order: &Order, why: &NotStarted) -> StartRefused {
    match why {
        NotStarted::Storage { why, is_full: true } => StartRefused::StorageFull(why.clone()),
        NotStarted::Storage { why, .. } => StartRefused::Storage(why.clone()),
        why => order.resolved.start_error(why).into(),
    }
}

impl From<NoSpare> for StartRefused {
    fn from(error: NoSpare) -> Self {
        match error {
            NoSpare::Storage(error) if error.is_full() => Self::StorageFull(error.to_string()),
            NoSpare::Storage(error) => Self::Storage(error.to_string()),
            NoSpare::Start(error) => error.into(),
            NoSpare::Supervisor(source) => StartError::Resources {
                step: "start a supervisor",
                source,
            }
            .into(),
        }
    }
}

impl From<ClaimError> for StartRefused {
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Storage(error) if error.is_full() => Self::StorageFull(error.to_string()),
            ClaimError::Storage(error) => Self::Storage(error.to_string()),
            ClaimError::Unsupported(_) => Self::LeftAlone,
        }
    }
}

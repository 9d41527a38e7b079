//! Supervisors that wait for an execution, made ahead of need: each has its id, its journal and the place of its tree.

use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use remex_daemon::descriptors;
use remex_supervisor::{
    durable::{
        Link,
        message::{LinkRequest, Report, Stage, VERSION},
    },
    journal::{self, DiskFolder, PREPARED_BYTES, StorageError, SyncMode},
    process::{DurablePlace, Spawner, StartError, TreeRecord},
};
use tokio::{
    io::unix::AsyncFd,
    sync::Notify,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    files::Files,
    stock::{LEAST, MOST, Step, Stock},
};
use crate::{attached::registered::watch_link, id::new_id};

/// A supervisor that does not answer for so long is given up. It has nothing to do but to answer.
const ANSWER_BOUND: Duration = Duration::from_secs(10);

/// After a spare that could not be made, the next is tried after this long.
const RETRY: Duration = Duration::from_secs(1);

/// Why there is no spare.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSpare {
    /// Its journal.
    #[error("its journal: {0}")]
    Storage(#[from] StorageError),
    /// The place of its tree.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The process, or the way to it.
    #[error("its supervisor: {0}")]
    Supervisor(#[from] io::Error),
}

impl NoSpare {
    fn unfit(why: impl Into<String>) -> Self {
        Self::Supervisor(io::Error::other(why.into()))
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) id: Uuid,
    pub(super) place: DurablePlace,
    pub(super) tree: TreeRecord,
    pub(super) link: AsyncFd<Link>,
}

impl Spare {
    /// Whether it is still there: it says nothing before its order, and its end is seen at once.
    fn waits(&mut self) -> bool {
        let said = self.link.get_mut().receive();
        said.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Makes them, and takes them away.
#[derive(Debug)]
pub(super) struct Maker {
    pub(super) spawner: Arc<Spawner>,
    pub(super) journals: DiskFolder,
    pub(super) files: Files,
    pub(super) sync: SyncMode,
}

/// Those that wait.
#[derive(Debug)]
pub(super) struct Spares {
    pub(super) maker: Maker,
    waiting: Mutex<Waiting>,
    /// The next step may be another one.
    changed: Notify,
}

#[derive(Debug)]
struct Waiting {
    spares: VecDeque<Spare>,
    stock: Stock,
}

impl Waiting {
    fn step(&mut self) -> Step {
        self.stock.step(self.spares.len(), Instant::now())
    }
}

impl Spares {
    pub(super) fn new(maker: Maker) -> Self {
        Self {
            maker,
            waiting: Mutex::new(Waiting {
                spares: VecDeque::new(),
                stock: Stock::new(descriptors::ahead(LEAST), descriptors::ahead(MOST)),
            }),
            changed: Notify::new(),
        }
    }

    /// One that waits, or a new one. Those that have died meanwhile are passed over.
    pub(super) async fn take(&self) -> Result<Spare, NoSpare> {
        loop {
            let Some(mut spare) = self.pop() else {
                return self.maker.make().await;
            };
            if spare.waits() {
                return Ok(spare);
            }
            tracing::warn!(id = %spare.id, "a supervisor has died while it waited");
            self.maker.discard(spare).await;
        }
    }

    fn pop(&self) -> Option<Spare> {
        let mut waiting = self.lock();
        let spare = waiting.spares.pop_front();
        let left = waiting.spares.len();
        if waiting.stock.taken(left, Instant::now()) {
            self.changed.notify_one();
        }
        spare
    }

    /// Has as many wait as are to, until `closing`; then takes them away.
    pub(super) async fn keep(&self, closing: CancellationToken) {
        let mut has_failed = false;
        while !closing.is_cancelled() {
            let step = self.lock().step();
            match step {
                Step::Make => match self.maker.make().await {
                    Ok(spare) => {
                        has_failed = false;
                        self.lock().spares.push_back(spare);
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut has_failed, true) {
                            tracing::warn!(%error, "no supervisor can be made ahead of need");
                        }
                        let _ = timeout(RETRY, closing.cancelled()).await;
                    }
                },
                Step::Discard => {
                    let surplus = self.lock().spares.pop_back();
                    if let Some(spare) = surplus {
                        self.maker.discard(spare).await;
                    }
                }
                Step::WaitUntil(time) => tokio::select! {
                    () = sleep_until(time.into()) => {}
                    () = self.changed.notified() => {}
                    () = closing.cancelled() => {}
                },
                Step::Wait => tokio::select! {
                    () = self.changed.notified() => {}
                    () = closing.cancelled() => {}
                },
            }
        }
        let left = std::mem::take(&mut self.lock().spares);
        for spare in left {
            self.maker.discard(spare).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Maker {
    async fn make(&self) -> Result<Spare, NoSpare> {
        let id = new_id();
        let (spawner, journals, sync) =
            (Arc::clone(&self.spawner), self.journals.clone(), self.sync);
        let begun = self.files.run(move || begin(&spawner, &journals, id, sync));
        let (folder, place, tree, link) = begun.await?;
        let spare = async {
            let mut link = watch_link(link)?;
            link.get_ref()
                .send(&LinkRequest::Hello { newest: VERSION })?;
            link.get_ref().place(&place)?;
            link.get_ref().prepare(folder.as_fd(), &id.to_string())?;
            match answer(&mut link).await? {
                Some(Report::Welcome {
                    stage: Stage::Spare,
                    ..
                }) => {}
                other => return Err(NoSpare::unfit(format!("it begins with {other:?}"))),
            }
            match answer(&mut link).await? {
                Some(Report::Prepared) => Ok(link),
                Some(Report::Unfit { why }) => Err(NoSpare::unfit(why)),
                other => Err(NoSpare::unfit(format!("it answers with {other:?}"))),
            }
        };
        match spare.await {
            Ok(link) => Ok(Spare {
                id,
                place,
                tree,
                link,
            }),
            Err(error) => {
                self.forget(id, tree).await;
                Err(error)
            }
        }
    }

    /// Takes one away that is not used, or whose command was not started. Its supervisor ends with its link.
    pub(super) async fn discard(&self, spare: Spare) {
        let Spare { id, tree, link, .. } = spare;
        drop(link);
        self.forget(id, tree).await;
    }

    /// Takes away what there is of an execution that nothing was run for.
    pub(super) async fn forget(&self, id: Uuid, tree: TreeRecord) {
        let (spawner, journals) = (Arc::clone(&self.spawner), self.journals.clone());
        self.files
            .run(move || forget(&spawner, &journals, id, &tree))
            .await;
    }
}

/// The next report, of a supervisor that answers at once.
pub(super) async fn answer(link: &mut AsyncFd<Link>) -> io::Result<Option<Report>> {
    match timeout(ANSWER_BOUND, next_report(link)).await {
        Ok(report) => report,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The next report; `None`: the supervisor has ended.
pub(super) async fn next_report(link: &mut AsyncFd<Link>) -> io::Result<Option<Report>> {
    loop {
        let mut ready = link.readable_mut().await?;
        if let Ok(report) = ready.try_io(|link| link.get_mut().receive()) {
            return report;
        }
    }
}

type Begun = (DiskFolder, DurablePlace, TreeRecord, Link);

fn begin(
    spawner: &Spawner,
    journals: &DiskFolder,
    id: Uuid,
    sync: SyncMode,
) -> Result<Begun, NoSpare> {
    let name = id.to_string();
    let folder = journal::prepare(journals, &name, PREPARED_BYTES, sync)?;
    let placed = spawner.place_durable(&name);
    let place = placed.inspect_err(|_| remove(journals, &name))?;
    let recorded = place.record(folder.as_fd());
    let tree = recorded.inspect_err(|_| remove(journals, &name))?;
    let link = spawner
        .fork_supervisor()
        .inspect_err(|_| forget(spawner, journals, id, &tree))?;
    Ok((folder, place, tree, link))
}

fn forget(spawner: &Spawner, journals: &DiskFolder, id: Uuid, tree: &TreeRecord) {
    spawner.leave_durable(tree);
    remove(journals, &id.to_string());
}

/// What cannot be removed is found by the next start.
fn remove(journals: &DiskFolder, id: &str) {
    if let Err(error) = journal::remove(journals, id) {
        tracing::debug!(%error, id, "cannot remove the journal of what did not run");
    }
}

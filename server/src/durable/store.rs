//! All durable executions: where they are kept, how they are found again, and when they go.

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures_util::{StreamExt, stream};
use remex_supervisor::{
    journal::{self, DiskFolder, Folder, StorageError, SyncMode},
    process::Spawner,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    files::Files,
    recover::{Found, LeftAlone, Recovery},
    request_ids::RequestIds,
    retention::Retention,
    spare::{Maker, Spares},
};
use crate::execution::{Execution, Resources};

/// Where the journals are in the state folder, and where the request ids.
const JOURNALS: &str = "durable";
const REQUEST_IDS: &str = "request-ids";

/// So many folders that an earlier server has left are looked at at once.
const RECOVERED_AT_ONCE: usize = 16;

/// Output leaves so much of the file system free, or less of a small one.
const MAX_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// How durable executions are kept.
#[derive(Debug, Clone, Copy)]
pub struct DurableSettings {
    /// What of them is on disk before it is told.
    pub sync: SyncMode,
}

/// The folders cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Making or opening one.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something in one.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// All of them.
#[derive(Debug)]
pub struct DurableStore {
    pub(super) resources: Resources,
    pub(super) journals: DiskFolder,
    pub(super) ids: RequestIds,
    pub(super) recovery: Recovery,
    pub(super) spares: Spares,
    pub(super) files: Files,
    /// Of the disk's own pace, so that nobody waits for what an earlier server has left.
    recovery_files: Files,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
    has_begun: AtomicBool,
    /// Everything that an earlier server has left has been looked at.
    pub(super) recovered: CancellationToken,
    /// What cannot be told, and is left as it is.
    left_alone: Mutex<HashSet<Uuid>>,
    /// Free space of the file system that output leaves alone.
    pub(super) reserve_bytes: u64,
    pub(super) retention: Mutex<Retention>,
    /// How many request ids are taken, as far as they have been counted.
    pub(super) taken_ids: AtomicU64,
}

impl DurableStore {
    /// In the state folder at `path`.
    pub(crate) fn open(
        path: &Path,
        settings: DurableSettings,
        spawner: Arc<Spawner>,
        resources: Resources,
    ) -> Result<Self, StoreError> {
        let state = DiskFolder::open(path)?;
        let journals = subfolder(&state, JOURNALS)?;
        let files = Files::default();
        let ids = RequestIds::open(subfolder(&state, REQUEST_IDS)?, files.clone());
        Ok(Self {
            resources,
            recovery: Recovery {
                spawner: Arc::clone(&spawner),
                journals: journals.clone(),
                ids: ids.clone(),
                boot_id: journal::boot_id()?,
            },
            spares: Spares::new(Maker {
                spawner,
                journals: journals.clone(),
                files: files.clone(),
                sync: settings.sync,
            }),
            journals,
            ids,
            files,
            recovery_files: Files::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            has_begun: AtomicBool::new(false),
            recovered: CancellationToken::new(),
            left_alone: Mutex::default(),
            reserve_bytes: reserve_bytes(path)?,
            retention: Mutex::default(),
            taken_ids: AtomicU64::new(0),
        })
    }

    /// Looks for what an earlier server has left, and has supervisors wait. Whoever calls this serves nobody yet: what is made
    /// from now on is this server's own.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<(), StoreError> {
        self.has_begun.store(true, Ordering::Release);
        let removed = journal::sweep_removed(&self.journals)?;
        if removed > 0 {
            tracing::debug!(
                removed,
                "removed what a crash had left of deleted executions"
            );
        }
        let mut left = Vec::new();
        self.journals.names(&mut |name| {
            if let Ok(id) = Uuid::try_parse(name) {
                left.push(id);
            }
        })?;
        // The newest first: they are the likeliest to be asked for.
        left.sort_unstable_by(|one, other| other.cmp(one));
        self.tasks.spawn(Arc::clone(self).recover(left));
        let this = Arc::clone(self);
        let closing = self.closing.clone();
        self.tasks
            .spawn(async move { this.spares.keep(closing).await });
        self.tasks.spawn(Arc::clone(self).keep_within_limits());
        Ok(())
    }

    async fn recover(self: Arc<Self>, left: Vec<Uuid>) {
        let found = left.len();
        stream::iter(left)
            .for_each_concurrent(RECOVERED_AT_ONCE, |id| self.recover_one(id))
            .await;
        self.recovered.cancel();
        if found > 0 {
            tracing::info!(
                found,
                "looked at the durable executions of the remexd before this one"
            );
        }
    }

    /// Finds out what became of the execution `id`, and goes on from there.
    pub(super) async fn recover_one(self: &Arc<Self>, id: Uuid) {
        while !self.closing.is_cancelled() {
            let recovery = self.recovery.clone();
            let found = self.recovery_files.run(move || recovery.find(id)).await;
            let error = match found {
                Ok(Found::Nothing) => return,
                Ok(Found::Over(summary)) => match self.insert_ended(id, &summary) {
                    Ok(execution) => return self.tell_end(&execution).await,
                    Err(error) => error,
                },
                Ok(Found::Running(running)) => match self.adopt(id, *running).await {
                    Ok(true) => return,
                    // It has ended meanwhile.
                    Ok(false) => continue,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            return self.leave_alone(id, &error);
        }
    }

    fn leave_alone(&self, id: Uuid, error: &LeftAlone) {
        tracing::warn!(%id, %error, "a durable execution is left alone");
        let mut left_alone = self
            .left_alone
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        left_alone.insert(id);
    }

    /// Whether an execution is there of which nothing can be told.
    pub(super) fn is_left_alone(&self, id: Uuid) -> bool {
        let left_alone = self
            .left_alone
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        left_alone.contains(&id)
    }

    /// The execution `id`, also if an earlier server has left it.
    pub(crate) async fn find(&self, id: Uuid) -> Option<Arc<Execution>> {
        if let Some(execution) = self.resources.registry.find(id) {
            return Some(execution);
        }
        self.recovered().await;
        self.resources.registry.find(id)
    }

    /// Returns when everything that an earlier server has left is in the records.
    pub(crate) async fn recovered(&self) {
        // One that has not begun looks for nothing.
        if self.has_begun.load(Ordering::Acquire) {
            self.recovered.cancelled().await;
        }
    }

    /// Removes what is kept of an execution that has ended. Its request id stays taken for a while.
    pub(crate) async fn delete(&self, execution: &Execution) -> Result<(), StoreError> {
        let Some(kept) = &execution.kept else {
            return Ok(());
        };
        if let Some(key) = super::start::request_key(&execution.caller, &kept.durability) {
            let retired = self.ids.retire(key).await;
            if let Err(error) = retired {
                return Err(StoreError::Io(io::Error::other(error.to_string())));
            }
        }
        if !self.resources.registry.remove(execution) {
            return Ok(());
        }
        self.forget(execution);
        let (journals, id) = (self.journals.clone(), execution.id.to_string());
        let removed = self
            .files
            .run(move || journal::remove(&journals, &id))
            .await;
        Ok(removed?)
    }

    /// Lets go of everything: streams end, supervisors go on by themselves, those that wait end.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What of the file system at `path` output leaves free, so that records, and others, go on: a twentieth of it at most.
fn reserve_bytes(path: &Path) -> io::Result<u64> {
    let file_system = rustix::fs::statvfs(path)?;
    let bytes = file_system.f_blocks.saturating_mul(file_system.f_frsize);
    Ok(MAX_RESERVE_BYTES.min(bytes / 20))
}

/// A private folder in the state folder.
fn subfolder(parent: &DiskFolder, name: &str) -> io::Result<DiskFolder> {
    match parent.make_folder(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => parent.open_folder(name),
        made => made,
    }
}

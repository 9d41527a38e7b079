//! All durable executions: where they are kept, how they are found again, and when they go.

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures_util::{StreamExt, stream};
use remex_supervisor::{
    journal::{self, ClaimError, DiskFolder, Folder, StorageError, SyncMode},
    process::Spawner,
    state_file,
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

/// The file that says in which boot every claim of a request id was on disk: until the next one, none is missing.
const CLAIMS_FILE: &str = "request-ids-boot";

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
    /// A request id.
    #[error("its request id: {0}")]
    Claim(#[from] ClaimError),
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
    /// Of the disk's own pace, so that nobody waits for what an earlier server has left, or for a supervisor that is silent.
    pub(super) recovery_files: Files,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
    has_begun: AtomicBool,
    /// Everything that an earlier server has left has been looked at.
    pub(super) recovered: CancellationToken,
    /// No claim of a request id can be missing: since they were whole, the host has not gone down.
    pub(super) has_all_claims: AtomicBool,
    claims_file: PathBuf,
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
        if settings.sync != SyncMode::None {
            sync_names(path)?;
        }
        let boot_id = journal::boot_id()?;
        let claims_file = path.join(CLAIMS_FILE);
        let known_boot = state_file::read(&claims_file, boot_id.len()).ok().flatten();
        Ok(Self {
            resources,
            recovery: Recovery {
                spawner: Arc::clone(&spawner),
                journals: journals.clone(),
                ids: ids.clone(),
                boot_id,
            },
            has_all_claims: AtomicBool::new(known_boot.is_some_and(|known| known == boot_id)),
            claims_file,
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
        match journal::sweep_removed(&self.journals) {
            Ok(0) => {}
            Ok(removed) => {
                tracing::debug!(
                    removed,
                    "removed what a crash had left of deleted executions"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "cannot remove all that is left of deleted executions");
            }
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
        self.note_claims().await;
        self.recovered.cancel();
        if found > 0 {
            tracing::info!(
                found,
                "looked at the durable executions of the remexd before this one"
            );
        }
    }

    /// Every journal has been looked at, so that each claim that a power cut took has been put back.
    async fn note_claims(&self) {
        let is_known = self.has_all_claims.load(Ordering::Acquire);
        if is_known || self.closing.is_cancelled() || !self.ids.are_written() {
            return;
        }
        self.has_all_claims.store(true, Ordering::Release);
        let (file, boot_id) = (self.claims_file.clone(), self.recovery.boot_id);
        let noted = self
            .files
            .run(move || state_file::replace(&file, &boot_id))
            .await;
        if let Err(error) = noted {
            tracing::debug!(%error, "the next start waits for all claims of request ids, too");
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

    /// Removes what is kept of an execution that has ended. Its request id stays taken for a while. Where its files cannot be
    /// removed it stays, and can be deleted again. Once begun it is carried out, whether or not its caller waits.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        execution: &Arc<Execution>,
    ) -> Result<(), StoreError> {
        let (this, execution) = (Arc::clone(self), Arc::clone(execution));
        let deleted = self
            .tasks
            .spawn(async move { this.delete_to_the_end(&execution).await });
        match deleted.await {
            Ok(deleted) => deleted,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn delete_to_the_end(&self, execution: &Execution) -> Result<(), StoreError> {
        let Some(kept) = &execution.kept else {
            return Ok(());
        };
        let _turn = kept.deleting.lock().await;
        if self.resources.registry.find(execution.id).is_none() {
            // Somebody else has.
            return Ok(());
        }
        let key = super::start::request_key(&execution.caller, &kept.durability);
        // A crash behind it leaves a record that goes, one before the other would leave an id that is free.
        if let Some(key) = key {
            self.ids.retire(key).await?;
        }
        let (journals, id) = (self.journals.clone(), execution.id.to_string());
        let deleted = self.files.run(move || journal::delete(&journals, &id));
        if let Err(error) = deleted.await {
            if let Some(key) = key
                && let Err(error) = self.ids.reinstate(key).await
            {
                tracing::warn!(id = %execution.id, %error, "an execution cannot be deleted, and is not found by its request id any more");
            }
            return Err(error.into());
        }
        self.resources.registry.remove(execution);
        self.forget(execution);
        if self.spares.maker.sync == SyncMode::All {
            let journals = self.journals.clone();
            self.files.run(move || journals.sync()).await?;
        }
        Ok(())
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

/// Has the names on disk of what is in the folder at `path`, and its own, up to where its file system begins.
fn sync_names(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    let device = path.metadata()?.dev();
    for folder in path.ancestors() {
        match File::open(folder) {
            Ok(file) if file.metadata()?.dev() == device => file.sync_all()?,
            Ok(_) => break,
            // Whoever may not read a folder has made nothing in it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A private folder in the state folder.
fn subfolder(parent: &DiskFolder, name: &str) -> io::Result<DiskFolder> {
    match parent.make_folder(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => parent.open_folder(name),
        made => made,
    }
}

//! What became of an execution that this server does not follow: of one that an earlier server has left, or whose supervisor
//! has gone without a word. Blocking; folder by folder, so that none waits for another.

use std::{
    io,
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use remex_supervisor::{
    durable::{FolderLock, Link},
    journal::{self, DiskFolder, Fate, JournalSummary, OpenError, Recovered, Stage, StorageError},
    process::{Spawner, TreeRecord},
};
use rustix::io::Errno;
use uuid::Uuid;

use super::request_ids::RequestIds;

/// A supervisor that begins or ends has its lock and no ear. It is given this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is left of the tree of a dead supervisor is killed for so long at most.
const KILL_BOUND: Duration = Duration::from_secs(10);

/// How often either is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What is needed to look after what supervisors leave. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Recovery {
    pub(super) spawner: Arc<Spawner>,
    pub(super) journals: DiskFolder,
    pub(super) ids: RequestIds,
    /// This boot of the host.
    pub(super) boot_id: [u8; 16],
}

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// It runs, or is about to.
    Running(Box<Running>),
    /// It is over, and this is what its journal says.
    Over(Box<JournalSummary>),
    /// Nothing ran, and nothing is left of it.
    Nothing,
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) link: Link,
    pub(super) summary: JournalSummary,
    pub(super) tree: Option<TreeRecord>,
}

/// What keeps it from being told. It is left alone.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeftAlone {
    /// Its journal, or one that a later version has written.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// Its folder.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its supervisor.
    #[error("its supervisor lives and does not answer")]
    Silent,
    /// Its supervisor is of a later version.
    #[error("its supervisor is of a later version of remexd; run that version again to reach it")]
    Newer,
    /// Its journal.
    #[error("its journal does not say who asked for what")]
    Nameless,
}

impl LeftAlone {
    /// Whether it may be told when it is asked again: its supervisor lives, or this server cannot look at the moment.
    pub(super) fn is_passing(&self) -> bool {
        let errno = match self {
            Self::Silent => return true,
            Self::Io(error) => error.raw_os_error(),
            Self::Journal(OpenError::Storage(error)) => error.errno,
            Self::Journal(_) | Self::Newer | Self::Nameless => None,
        };
        matches!(
            errno.map(Errno::from_raw_os_error),
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)
        )
    }
}

impl From<StorageError> for LeftAlone {
    fn from(error: StorageError) -> Self {
        Self::Journal(error.into())
    }
}

impl Recovery {
    /// Looks for the execution `id`.
    pub(super) fn find(&self, id: Uuid) -> Result<Found, LeftAlone> {
        let folder = journal::open(&self.journals, &id.to_string())?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = FolderLock::take(folder.as_fd())? {
                return self.bury(id, &folder, lock);
            }
            match Link::connect(folder.as_fd()) {
                Ok(link) => {
                    return Ok(Found::Running(Box::new(Running {
                        link,
                        summary: journal::inspect(&folder)?,
                        tree: TreeRecord::read(folder.as_fd())?,
                    })));
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() >= give_up {
                return Err(LeftAlone::Silent);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Nobody supervises it: says what is known of its end, and kills what is left of it if nobody saw that.
    fn bury(&self, id: Uuid, folder: &DiskFolder, lock: FolderLock) -> Result<Found, LeftAlone> {
        let tree = TreeRecord::read(folder.as_fd())?;
        // Else it is a stranger's: the folder is a copy, or the machine was restarted.
        let own_tree = match tree {
            Some(tree) if tree.is_of(folder.as_fd())? => Some(tree),
            _ => None,
        };
        let Recovered {
            summary,
            cut_bytes,
            writer,
        } = match journal::recover(folder.clone()) {
            // A crash came before there was anything in it.
            Err(OpenError::Blank) => return self.remove(id, None, own_tree.as_ref(), lock),
            recovered => recovered?,
        };
        if cut_bytes > 0 {
            tracing::warn!(%id, cut_bytes, "cut what its supervisor was writing when it was lost, which nobody was told of");
        }
        let boot_id = summary.reservation.as_ref().map(|one| one.boot_id);
        let same_boot = boot_id.map_or(own_tree.is_some(), |boot_id| boot_id == self.boot_id);
        self.restore_claim(&summary);
        match summary.fate(same_boot) {
            Fate::NeverRan => self.remove(id, Some(&summary), own_tree.as_ref(), lock),
            // Of which nothing is known but its name: nobody was told it, or what was told is gone with the power.
            Fate::Lost(_) if summary.reservation.is_none() && summary.started.is_none() => {
                self.kill(id, own_tree.as_ref());
                self.remove(id, None, own_tree.as_ref(), lock)
            }
            Fate::Known => {
                self.leave(own_tree.as_ref());
                Ok(Found::Over(Box::new(summary)))
            }
            Fate::Lost(lost) => {
                self.kill(id, own_tree.as_ref());
                tracing::warn!(%id, ?lost, "nobody saw the end of an execution");
                let time = SystemTime::now();
                let written = writer.map(|mut writer| writer.lose(lost, time));
                if let Some(Ok(())) = written {
                    return Ok(Found::Over(Box::new(journal::inspect(folder)?)));
                }
                if let Some(Err(error)) = written {
                    tracing::warn!(%id, %error, "cannot write down that its end was lost");
                }
                Ok(Found::Over(Box::new(JournalSummary {
                    stage: Stage::Lost { time, lost },
                    last_sequence: summary.last_sequence + 1,
                    ..summary
                })))
            }
        }
    }

    /// Puts back a claim that a power cut took.
    fn restore_claim(&self, summary: &JournalSummary) {
        let claim = summary
            .reservation
            .as_ref()
            .and_then(|one| one.claim.as_ref());
        let Some(claim) = claim.filter(|claim| claim.boot_id != self.boot_id) else {
            return;
        };
        if let Err(error) = self.ids.restore(claim) {
            tracing::warn!(id = claim.execution_id, %error, "cannot put its request id back, which stays taken until remexd ends");
        }
    }

    /// Nothing ran: its id is free, and nothing of it stays.
    fn remove(
        &self,
        id: Uuid,
        summary: Option<&JournalSummary>,
        tree: Option<&TreeRecord>,
        lock: FolderLock,
    ) -> Result<Found, LeftAlone> {
        let id = id.to_string();
        let reservation = summary.and_then(|summary| summary.reservation.as_ref());
        if let Some(claim) = reservation.and_then(|one| one.claim.as_ref()) {
            let released = self.ids.with(|claims| match claims.find(&claim.key)? {
                Some(found) if found.execution_id == id => claims.release(&claim.key),
                _ => Ok(()),
            });
            if let Err(error) = released {
                tracing::warn!(id, %error, "cannot free its request id");
            }
        }
        self.leave(tree);
        journal::remove(&self.journals, &id)?;
        drop(lock);
        Ok(Found::Nothing)
    }

    fn leave(&self, tree: Option<&TreeRecord>) {
        if let Some(tree) = tree {
            self.spawner.leave_durable(tree);
        }
    }

    fn kill(&self, id: Uuid, tree: Option<&TreeRecord>) {
        let Some(tree) = tree else { return };
        let give_up = Instant::now() + KILL_BOUND;
        while !self.spawner.kill_durable(tree) {
            if Instant::now() >= give_up {
                tracing::warn!(%id, "what is left of its tree does not end");
                break;
            }
            thread::sleep(LOOK_AGAIN);
        }
        self.spawner.leave_durable(tree);
    }
}

/// Whether a supervisor that refuses is beginning or ending.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotFound
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
    )
}

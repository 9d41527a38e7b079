//! Request ids: which execution each stands for. One start at a time has an id, so that whoever comes second finds what
//! became of the first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use remex_supervisor::journal::{
    Claim, ClaimError, Claimed, Claims, DiskFolder, RequestKey, Swept,
};
use tokio::sync::OwnedMutexGuard;

use super::files::Files;

type Turn = Arc<tokio::sync::Mutex<()>>;

/// Claims that a power cut took, and that could not be put back.
type Unwritten = HashMap<RequestKey, Claim>;

/// All of them. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct RequestIds {
    claims: Arc<Mutex<Claims>>,
    turns: Arc<Mutex<HashMap<RequestKey, Turn>>>,
    unwritten: Arc<Mutex<Unwritten>>,
    files: Files,
}

/// That nobody else looks for a request id or claims it, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    key: RequestKey,
    turn: Option<OwnedMutexGuard<()>>,
    ids: RequestIds,
}

impl RequestIds {
    pub(super) fn open(folder: DiskFolder, files: Files) -> Self {
        Self {
            claims: Arc::new(Mutex::new(Claims::open(folder))),
            turns: Arc::default(),
            unwritten: Arc::default(),
            files,
        }
    }

    /// Waits for one's turn with an id.
    pub(super) async fn hold(&self, key: RequestKey) -> Held {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(key).or_default())
        };
        // Made before it waits: given up meanwhile, it leaves nothing behind either.
        let mut held = Held {
            key,
            turn: None,
            ids: self.clone(),
        };
        held.turn = Some(turn.lock_owned().await);
        held
    }

    /// Who has an id.
    pub(super) async fn find(&self, key: RequestKey) -> Result<Option<Claim>, ClaimError> {
        let found = self.run(move |claims| claims.find(&key)).await?;
        Ok(found.or_else(|| self.unwritten().get(&key).cloned()))
    }

    /// Puts back a claim that a power cut took. What cannot be written is remembered as long as this server lives: the id is
    /// taken all the same. Another execution's claim is left alone. On a thread that may wait.
    pub(super) fn restore(&self, claim: &Claim) -> Result<(), ClaimError> {
        let restored = self.with(|claims| claims.restore(claim));
        if restored.is_err() {
            self.unwritten().insert(claim.key, claim.clone());
        }
        restored.map(drop)
    }

    /// Whether every claim that was to be put back is on disk.
    pub(super) fn are_written(&self) -> bool {
        self.unwritten().is_empty()
    }

    /// Takes an id.
    pub(super) async fn claim(&self, claim: Claim) -> Result<Claimed, ClaimError> {
        self.run(move |claims| claims.claim(&claim)).await
    }

    /// Frees an id, as nothing ran.
    pub(super) async fn release(&self, key: RequestKey) -> Result<(), ClaimError> {
        self.run(move |claims| claims.release(&key)).await
    }

    /// The record behind an id goes.
    pub(super) async fn retire(&self, key: RequestKey) -> Result<(), ClaimError> {
        let unwritten = self.unwritten().get(&key).cloned();
        let retire = move |claims: &mut Claims| {
            if let Some(claim) = unwritten {
                claims.restore(&claim)?;
            }
            claims.retire(&key, SystemTime::now())
        };
        self.run(retire).await?;
        self.unwritten().remove(&key);
        Ok(())
    }

    /// The record behind an id stays, which was to go.
    pub(super) async fn reinstate(&self, key: RequestKey) -> Result<(), ClaimError> {
        self.run(move |claims| claims.reinstate(&key)).await
    }

    /// Forgets the ids that were retired before `before`.
    pub(super) async fn sweep(&self, before: SystemTime) -> Result<Swept, ClaimError> {
        self.run(move |claims| claims.sweep(before)).await
    }

    /// On a thread that may wait.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Claims) -> T) -> T {
        work(&mut self.claims.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Claims) -> T + Send + 'static,
    ) -> T {
        let ids = self.clone();
        self.files.run(move || ids.with(work)).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut turns = self
            .ids
            .turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.turn = None;
        // Nobody else can get at it meanwhile: only the map's own is left.
        if turns
            .get(&self.key)
            .is_some_and(|turn| Arc::strong_count(turn) == 1)
        {
            turns.remove(&self.key);
        }
    }
}

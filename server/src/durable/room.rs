//! Keeps what is stored within its limits: what is too old or too much of what has ended is deleted, and who would take more
//! than that makes room for is refused.

use std::{
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use remex_daemon::net::Caller;
use tokio::time::{Instant, interval};
use uuid::Uuid;

use super::{
    kept::Kept,
    retention::{NoRoom, Retention},
    store::DurableStore,
};
use crate::execution::{Execution, StartRefused};

/// A request id is kept for so long after its record has gone.
pub const RETIRED_KEPT: Duration = Duration::from_hours(7 * 24);

/// So many request ids are taken at most.
pub const MAX_REQUEST_IDS: u64 = 1_000_000;

/// How often it is looked whether something is too old, and how much those that run have stored.
const LOOK: Duration = Duration::from_secs(10);

/// How often request ids that are old enough are forgotten, and what could not be deleted is tried again.
const HOURLY: Duration = Duration::from_hours(1);

impl DurableStore {
    /// An execution runs.
    pub(super) fn note_running(&self, execution: &Execution) {
        let caller = execution.caller.to_string();
        let bytes = stored_bytes(execution);
        self.retention().run(&caller, execution.id, bytes);
    }

    /// An execution has ended.
    pub(super) fn note_ended(&self, execution: &Execution) {
        let Some(end) = execution.end_record() else {
            return;
        };
        let caller = execution.caller.to_string();
        let bytes = stored_bytes(execution);
        self.retention().end(&caller, execution.id, end.time, bytes);
    }

    /// It is gone.
    pub(super) fn forget(&self, execution: &Execution) {
        if let Some(end) = execution.end_record() {
            let caller = execution.caller.to_string();
            self.retention().forget(&caller, execution.id, end.time);
        }
    }

    /// Makes room for another execution of `caller`.
    pub(super) async fn make_room(
        self: &Arc<Self>,
        caller: &Caller,
        takes_id: bool,
    ) -> Result<(), StartRefused> {
        if takes_id && self.taken_ids.load(Ordering::Relaxed) >= MAX_REQUEST_IDS {
            let why = "1,000,000 request ids are taken";
            return Err(StartRefused::StorageFull(why.to_owned()));
        }
        let caller = caller.to_string();
        loop {
            let next = self.retention().for_another(&caller);
            match next {
                Ok(None) => return Ok(()),
                Ok(Some(id)) => self.evict(id).await,
                Err(NoRoom) => {
                    let why = "the durable executions that run, or that cannot be deleted, hold all that may be kept";
                    return Err(StartRefused::StorageFull(why.to_owned()));
                }
            }
        }
    }

    /// Now and then deletes what is to go, until the server goes.
    pub(super) async fn keep_within_limits(self: Arc<Self>) {
        let mut ticks = interval(LOOK);
        let mut hourly_at = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.closing.cancelled() => return,
            }
            if !self.recovered.is_cancelled() {
                continue;
            }
            if Instant::now() >= hourly_at {
                hourly_at = Instant::now() + HOURLY;
                self.forget_ids().await;
                self.retention().try_again();
            }
            self.look_at_those_that_run().await;
            loop {
                let surplus = self.retention().surplus(SystemTime::now());
                let Some(id) = surplus else { break };
                self.evict(id).await;
            }
        }
    }

    async fn look_at_those_that_run(&self) {
        let ids: Vec<_> = self.retention().running().collect();
        let found = ids.into_iter().map(|id| self.resources.registry.find(id));
        let running: Vec<_> = found.flatten().collect();
        join_all(running.iter().map(|execution| execution.refresh())).await;
        for execution in &running {
            // Its end may have been noted meanwhile.
            let mut retention = self.retention();
            if execution.end_record().is_none() {
                let caller = execution.caller.to_string();
                retention.run(&caller, execution.id, stored_bytes(execution));
            }
        }
    }

    async fn forget_ids(&self) {
        let Some(before) = SystemTime::now().checked_sub(RETIRED_KEPT) else {
            return;
        };
        match self.ids.sweep(before).await {
            Ok(swept) => {
                let taken = (swept.kept + swept.torn) as u64;
                self.taken_ids.store(taken, Ordering::Relaxed);
            }
            Err(error) => tracing::warn!(%error, "cannot look for request ids that are to go"),
        }
    }

    /// Deletes what is to go, or has others go in its place.
    async fn evict(self: &Arc<Self>, id: Uuid) {
        let Some(execution) = self.resources.registry.find(id) else {
            // Somebody else deletes it at this moment.
            return self.retention().set_aside(id);
        };
        match self.delete(&execution).await {
            Ok(()) => {
                tracing::info!(%id, "deleted a durable execution that had ended, as there is to be no more of them");
            }
            Err(error) => {
                tracing::warn!(%id, %error, "cannot delete a durable execution, which stays; others go in its place");
                self.retention().set_aside(id);
            }
        }
    }

    fn retention(&self) -> MutexGuard<'_, Retention> {
        self.retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn stored_bytes(execution: &Execution) -> u64 {
    let kept = execution.kept.as_deref();
    kept.map(Kept::facts).unwrap_or_default().stored_bytes
}

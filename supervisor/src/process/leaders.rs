//! Which children of this process lead a tree, where orphans fall to this process too: as a subreaper, or as the first of
//! its PID namespace. An orphan is reaped when it has ended; a leader stays a zombie until its supervision is over.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::{leader::Leader, table};

/// The leaders that are not reaped yet. Its lock is held by whoever makes or reaps a child.
#[derive(Debug, Default)]
pub(super) struct Leaders(Mutex<HashSet<i32>>);

impl Leaders {
    /// Held while a leader is made, so that it is known before anybody looks for orphans.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps `leader` if it has ended; `false`: it has not.
    pub(super) fn reap(&self, leader: &Leader) -> bool {
        let mut leaders = self.lock();
        let reaped = leader.reap();
        if reaped {
            leaders.remove(&leader.pid());
        }
        reaped
    }

    /// Whether there are orphans. What is left of a tree that has lost its leader is one, or below one.
    pub(super) fn have_orphans(&self) -> bool {
        let leaders = self.lock();
        table::own_children()
            .iter()
            .any(|pid| !leaders.contains(pid))
    }

    /// Reaps orphans that have ended.
    pub(super) fn reap_orphans(&self) {
        let leaders = self.lock();
        for pid in table::own_children() {
            if let Some(pid) = Pid::from_raw(pid).filter(|_| !leaders.contains(&pid)) {
                // One that lives stays.
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                let _ = rustix::process::waitid(WaitId::Pid(pid), options);
            }
        }
    }
}

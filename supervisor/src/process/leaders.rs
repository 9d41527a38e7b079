//! Which children of this process lead a tree, where orphans fall to this process too: as a subreaper, or as the first of
//! its PID namespace. An orphan is reaped when it has ended; a leader stays a zombie until its supervision is over.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::{leader::Leader, table};

/// The leaders that are not reaped yet.
#[derive(Debug, Default)]
pub(super) struct Leaders(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    leaders: HashSet<i32>,
    /// The spawns that are under way, each with its number.
    spawning: BTreeSet<u64>,
    next_spawn: u64,
    /// Children that no spawn has claimed so far, with the number of the first spawn that cannot have made them.
    unclaimed: HashMap<i32, u64>,
}

impl Known {
    /// Takes stock of `children`, and returns the orphans among them: those that are no leaders, and that no spawn which is
    /// still under way can have made.
    fn orphans(&mut self, children: &[i32]) -> Vec<i32> {
        let Self {
            leaders,
            spawning,
            next_spawn,
            unclaimed,
        } = self;
        unclaimed.retain(|pid, _| children.contains(pid) && !leaders.contains(pid));
        let under_way = spawning.first().copied().unwrap_or(*next_spawn);
        children
            .iter()
            .copied()
            .filter(|pid| !leaders.contains(pid))
            .filter(|&pid| *unclaimed.entry(pid).or_insert(*next_spawn) <= under_way)
            .collect()
    }
}

/// Takes note that a spawn is over, however it ends.
struct Spawning<'a> {
    leaders: &'a Leaders,
    number: u64,
}

impl Drop for Spawning<'_> {
    fn drop(&mut self) {
        self.leaders.lock().spawning.remove(&self.number);
    }
}

impl Leaders {
    /// Spawns with `spawn`, so that nobody takes the new leader for an orphan. Spawns do not wait for one another.
    pub(super) fn guard(&self, spawn: impl FnOnce() -> io::Result<Leader>) -> io::Result<Leader> {
        let under_way = {
            let mut known = self.lock();
            let number = known.next_spawn;
            known.next_spawn += 1;
            known.spawning.insert(number);
            Spawning {
                leaders: self,
                number,
            }
        };
        let leader = spawn()?;
        self.lock().leaders.insert(leader.pid());
        drop(under_way);
        Ok(leader)
    }

    /// Reaps `leader` if it has ended; `false`: it has not.
    pub(super) fn reap(&self, leader: &Leader) -> bool {
        let mut known = self.lock();
        let reaped = leader.reap();
        if reaped {
            known.leaders.remove(&leader.pid());
        }
        reaped
    }

    /// Reaps the leader whose number `pid` is, and which nobody else reaps, if it has ended; `false`: it has not.
    pub(super) fn reap_by_pid(&self, pid: i32) -> bool {
        let mut known = self.lock();
        let reaped = reap(pid);
        if reaped {
            known.leaders.remove(&pid);
        }
        reaped
    }

    /// Does something with the leader `pid` while it cannot be reaped; nothing if it has been.
    pub(super) fn with_unreaped(&self, pid: i32, act: impl FnOnce()) {
        if self.lock().leaders.contains(&pid) {
            act();
        }
    }

    /// Reaps the orphans that have ended. Returns whether there are, or may be, others: what is left of a tree that has
    /// lost its leader is one, or below one.
    pub(super) fn reap_orphans(&self) -> bool {
        let children = table::own_children();
        let mut known = self.lock();
        for pid in known.orphans(&children) {
            if reap(pid) {
                known.unclaimed.remove(&pid);
            }
        }
        !known.unclaimed.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reaps the child `pid` if it has ended. An error says that it is nobody's child any more.
pub(super) fn reap(pid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pid) else {
        return true;
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(rustix::process::waitid(WaitId::Pid(pid), options), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_an_orphan_once_no_spawn_under_way_can_have_made_it() {
        let mut known = Known {
            leaders: HashSet::from([10]),
            spawning: BTreeSet::from([4]),
            next_spawn: 5,
            unclaimed: HashMap::new(),
        };
        assert!(known.orphans(&[10, 11]).is_empty());
        // Others begin, the one that could have made it ends, and it has not made it.
        known.spawning.insert(5);
        known.next_spawn = 6;
        known.spawning.remove(&4);
        assert_eq!(known.orphans(&[10, 11]), [11]);
        // A child that comes later may be that of the spawn that is under way, and is.
        assert_eq!(known.orphans(&[10, 11, 12]), [11]);
        known.leaders.insert(12);
        known.spawning.clear();
        assert_eq!(known.orphans(&[10, 11, 12]), [11]);
        // What is gone is forgotten.
        assert!(known.orphans(&[10]).is_empty());
        assert!(known.unclaimed.is_empty());
    }
}

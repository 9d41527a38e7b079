//! The fallback where cgroup v2 cannot be written: a tree is known by its leader's session, by descent, and by a tag in
//! the environment. The server is a subreaper, so that orphans become its own children and stay in its sight.
//!
//! What it cannot do: a process that clears its environment, leaves its session and loses its parent is out of sight.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    signal,
    table::{self, Entry, Table, TreeLook},
};

/// Empty sweeps in a row after which a tree counts as gone: one alone may have looked while a process forked.
const SWEEPS: u32 = 2;

/// Rounds of kills after which what a crash has left is given up.
const LEFTOVER_ROUNDS: usize = 1000;

/// One execution's tree, as far as it can be seen.
#[derive(Debug)]
pub(super) struct Sweep {
    leader: i32,
    tag: String,
    empty_sweeps: AtomicU32,
}

impl Sweep {
    /// The tree of `leader`, tagged `instance.execution`.
    pub(super) fn new(leader: i32, tag: String) -> Self {
        Self {
            leader,
            tag,
            empty_sweeps: AtomicU32::new(0),
        }
    }

    /// The execution's id, as the tag has it.
    pub(super) fn execution(&self) -> &str {
        self.tag.rsplit_once('.').map_or(&*self.tag, |(_, id)| id)
    }

    /// One round of: stop what is there, so that it cannot fork; look again; kill.
    pub(super) fn kill(&self) {
        if self.leader > 0 {
            // As one, whatever forks there. An error says that nothing is left in it.
            let _ = signal::group(self.leader, libc::SIGSTOP);
        }
        stop_as_met(|pid| {
            table::look(pid).is_some_and(|entry| {
                !entry.dead
                    && (self.is_led(pid, &entry)
                        || table::tag_of(pid).is_some_and(|tag| tag == self.tag))
            })
        });
        self.signal(libc::SIGSTOP);
        self.signal(libc::SIGKILL);
    }

    pub(super) fn signal(&self, number: i32) {
        let table = Table::read();
        signal_all(number, &table, self.members(&table));
    }

    /// What lives in it; several looks in a row have to find nothing before it is gone.
    pub(super) fn look(&self) -> TreeLook {
        let members = self.members(&Table::read());
        if !members.is_empty() {
            self.empty_sweeps.store(0, Ordering::Relaxed);
            return TreeLook::of(&members);
        }
        if self.empty_sweeps.fetch_add(1, Ordering::Relaxed) + 1 >= SWEEPS {
            TreeLook::Gone
        } else {
            TreeLook::Alive
        }
    }

    /// Whether nothing of it is alive in `table`.
    pub(super) fn is_absent(&self, table: &Table) -> bool {
        self.members(table).is_empty()
    }

    fn members(&self, table: &Table) -> Vec<i32> {
        table.members(|pid, entry| {
            self.is_led(pid, entry) || table.is_tagged(pid, |tag| tag == self.tag)
        })
    }

    fn is_led(&self, pid: i32, entry: &Entry) -> bool {
        entry.session == self.leader || pid == self.leader
    }
}

/// Kills what carries a tag of `instance`, but for executions in `keep`. Returns how many processes that were.
pub(super) fn kill_leftovers(instance: &str, keep: impl Fn(&str) -> bool) -> usize {
    let prefix = format!("{instance}.");
    let is_left = |tag: &str| {
        let execution = tag.strip_prefix(&prefix);
        execution.is_some_and(|execution| !keep(execution))
    };
    let members = |table: &Table| table.members(|pid, _| table.is_tagged(pid, is_left));
    let mut seen = HashSet::new();
    let mut empty = 0;
    for _ in 0..LEFTOVER_ROUNDS {
        let found = members(&Table::read());
        if found.is_empty() {
            empty += 1;
            if empty == SWEEPS {
                break;
            }
            continue;
        }
        empty = 0;
        seen.extend(found);
        stop_as_met(|pid| table::tag_of(pid).is_some_and(|tag| is_left(&tag)));
        for number in [libc::SIGSTOP, libc::SIGKILL] {
            let table = Table::read();
            signal_all(number, &table, members(&table));
        }
        std::thread::yield_now();
    }
    seen.len()
}

/// Stops what `belongs` as it is met: what forks and leaves over and over, in a group of its own, is gone before a list
/// is made.
fn stop_as_met(belongs: impl Fn(i32) -> bool) {
    for pid in table::pids().filter(|&pid| pid != table::own_pid()) {
        if belongs(pid) {
            signal::held(libc::SIGSTOP, pid, || belongs(pid));
        }
    }
}

/// Sends a signal to those of `table` that `pids` names, if they are still the same.
fn signal_all(number: i32, table: &Table, pids: Vec<i32>) {
    for pid in pids {
        signal::held(number, pid, || table.is_same(pid));
    }
}

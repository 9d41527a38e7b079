//! A process tree where there are no cgroups, seen from the process that runs it alone: all that descends from that process.
//! It is a subreaper, so orphans of the tree fall to it and stay in sight, whatever their environment and session.

use std::{collections::HashSet, io};

use super::{
    delivery::Delivery,
    leader::Leader,
    signal,
    table::{self, Entry, ProcessTable, State, TreeLook, now_in_ticks},
};

/// A tree may turn out larger so often while it is stopped; then it is killed as far as it is known.
const MAX_STOP_PASSES: u32 = 3;

/// While it forks, a tree is looked at so often for those that a signal has not reached.
const MAX_SIGNAL_PASSES: u32 = 8;

/// Looks in a row that find nothing, after which a tree is gone: one alone may have looked while a process forked and ended.
const LOOKS: u32 = 2;

/// All that descends from this process.
#[derive(Debug)]
pub(super) struct Descent {
    table: ProcessTable,
}

impl Descent {
    /// An error says that there is no /proc.
    pub(super) fn open() -> io::Result<Self> {
        let table = ProcessTable::open()?;
        Ok(Self { table })
    }

    /// Sends a signal to all of it, once to each process.
    pub(super) fn signal(&self, leader: &Leader, number: i32) {
        // Who descends from whom is seen only before the first one has ended.
        let (met, mut is_whole) = self.members();
        // An error says that nothing is in it.
        let _ = leader.signal_group(number);
        let mut delivery = Delivery::begin(number, leader.pid(), now_in_ticks());
        // Who has left the process group since may not have got what that got.
        let met = met.iter().filter_map(|entry| self.table.look_again(entry));
        let mut members: Vec<Entry> = met.collect();
        for _ in 0..MAX_SIGNAL_PASSES {
            for entry in delivery.take_in(&members, is_whole) {
                signal::send(number, entry.pid, || self.table.is_same(&entry));
                delivery.sent(&entry, now_in_ticks());
            }
            if !delivery.is_under_way() {
                break;
            }
            (members, is_whole) = self.members();
        }
    }

    /// Kills all of it. It is stopped before, so that nothing is born meanwhile.
    pub(super) fn kill(&self, leader: &Leader) {
        let mut known = HashSet::new();
        let mut members = Vec::new();
        for _ in 0..MAX_STOP_PASSES {
            let is_whole;
            (members, is_whole) = self.members();
            let mut has_grown = false;
            for entry in &members {
                if known.insert((entry.pid, entry.started)) {
                    has_grown = true;
                    signal::send(libc::SIGSTOP, entry.pid, || self.table.is_same(entry));
                }
            }
            if !has_grown || !is_whole {
                break;
            }
        }
        let _ = leader.kill();
        let _ = leader.signal_group(libc::SIGKILL);
        for entry in &members {
            signal::send(libc::SIGKILL, entry.pid, || self.table.is_same(entry));
        }
    }

    /// What lives in it.
    pub(super) fn look(&self) -> TreeLook {
        let mut look = TreeLook::Gone;
        for _ in 0..LOOKS {
            look = match self.members() {
                (members, true) if members.is_empty() => TreeLook::Gone,
                (members, true) if members.iter().all(|entry| entry.state == State::Held) => {
                    TreeLook::Held
                }
                _ => TreeLook::Alive,
            };
            if look != TreeLook::Gone {
                break;
            }
        }
        look
    }

    /// Its living processes, and whether these are all.
    fn members(&self) -> (Vec<Entry>, bool) {
        let listed = table::descendants(&self.table);
        let is_whole = listed.is_ok();
        let mut members = listed.unwrap_or_default();
        members.retain(|entry| entry.state != State::Dead);
        (members, is_whole)
    }
}

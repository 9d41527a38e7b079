//! One signal on its way to a tree: who has got it, and to whom of those that a later pass finds it is still to be sent, so
//! that everybody gets it once. Pure; times are in ticks since the boot, as /proc has them.

use std::collections::{HashMap, HashSet};

use super::{sweep::PASSES, table::Entry};

/// A signal that was sent to the leader's process group, and is sent to everybody else of its tree.
#[derive(Debug)]
pub(super) struct Delivery {
    number: i32,
    leader: i32,
    /// When the process group got it.
    begun: u64,
    /// When anybody got it last.
    last: u64,
    got: HashMap<i32, Got>,
    /// Passes in a row that saw all there was, and found nobody without it.
    settled_passes: u32,
}

/// A process that gets no more of it.
#[derive(Debug, Clone, Copy)]
struct Got {
    started: u64,
    /// What it begot up to then, within the tick, is to get it, too. What it begets later, perhaps to tidy up, is not.
    at: u64,
}

impl Delivery {
    /// The process group of `leader` got `number` at `now`.
    pub(super) fn begin(number: i32, leader: i32, now: u64) -> Self {
        Self {
            number,
            leader,
            begun: now,
            last: now,
            got: HashMap::new(),
            settled_passes: 0,
        }
    }

    pub(super) fn number(&self) -> i32 {
        self.number
    }

    /// Takes in the members of the tree that a pass met after the process group had got it, and returns those to whom it is
    /// to be sent.
    pub(super) fn take_in(&mut self, members: &[Entry], is_whole: bool) -> Vec<Entry> {
        let mut without: Vec<Entry> = Vec::new();
        for entry in members {
            if self.has_got(entry) {
                continue;
            }
            // The kernel lets nobody slip through a signal to a process group: who is in it got it, or was born by one that had.
            if entry.group == self.leader {
                self.note(entry, self.begun);
            } else {
                without.push(*entry);
            }
        }
        // Parents first.
        without.sort_unstable_by_key(|entry| (entry.started, entry.pid));
        let pids: HashSet<i32> = without.iter().map(|entry| entry.pid).collect();
        let mut owed = Vec::new();
        let mut is_settled = is_whole;
        for entry in &without {
            let parent = self.got.get(&entry.parent);
            let is_owed = entry.started <= parent.map_or(self.last, |parent| parent.at);
            if is_owed {
                owed.push(*entry);
                is_settled = false;
            } else if parent.is_none() && pids.contains(&entry.parent) {
                // It depends on its parent, and the next pass finds out what became of that.
                is_settled = false;
            } else {
                self.note(entry, 0);
            }
        }
        if is_whole {
            let living: HashMap<i32, u64> = members
                .iter()
                .map(|entry| (entry.pid, entry.started))
                .collect();
            self.got
                .retain(|pid, got| living.get(pid) == Some(&got.started));
        }
        self.settled_passes = if is_settled {
            self.settled_passes.saturating_add(1)
        } else {
            0
        };
        owed
    }

    /// It was sent to `entry`, which had it by `now`.
    pub(super) fn sent(&mut self, entry: &Entry, now: u64) {
        self.note(entry, now);
        self.last = self.last.max(now);
    }

    /// Whether a pass has to find out who lacks it: one alone may have looked while a process forked.
    pub(super) fn is_under_way(&self) -> bool {
        self.settled_passes < PASSES
    }

    fn has_got(&self, entry: &Entry) -> bool {
        let got = self.got.get(&entry.pid);
        got.is_some_and(|got| got.started == entry.started)
    }

    fn note(&mut self, entry: &Entry, at: u64) {
        let started = entry.started;
        self.got.insert(entry.pid, Got { started, at });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::table::State, *};

    const LEADER: i32 = 10;

    /// When the process group gets the signal.
    const BEGUN: u64 = 100;

    fn entry(pid: i32, parent: i32, group: i32, started: u64) -> Entry {
        Entry {
            pid,
            parent,
            group,
            session: group,
            started,
            state: State::Alive,
        }
    }

    fn delivery() -> Delivery {
        Delivery::begin(libc::SIGTERM, LEADER, BEGUN)
    }

    /// The pids of those that a pass finds without it, which then get it at `now`.
    fn pass(delivery: &mut Delivery, members: &[Entry], now: u64) -> Vec<i32> {
        let owed = delivery.take_in(members, true);
        for entry in &owed {
            delivery.sent(entry, now);
        }
        owed.iter().map(|entry| entry.pid).collect()
    }

    #[test]
    fn who_is_outside_the_process_group_gets_it_once() {
        let mut delivery = delivery();
        assert_eq!(delivery.number(), libc::SIGTERM);
        let members = [
            entry(LEADER, 1, LEADER, 50),
            entry(11, LEADER, LEADER, 60),
            entry(12, LEADER, 12, 60),
        ];
        assert_eq!(pass(&mut delivery, &members, 101), [12]);
        assert_eq!(pass(&mut delivery, &members, 102), []);
        // Another process may have its number.
        let reborn = [entry(LEADER, 1, LEADER, 50), entry(12, 1, 12, 101)];
        assert_eq!(pass(&mut delivery, &reborn, 103), [12]);
    }

    #[test]
    fn who_left_the_process_group_before_it_got_the_signal_gets_it_from_a_later_pass() {
        let mut delivery = delivery();
        let leader = entry(LEADER, 1, LEADER, 50);
        assert_eq!(pass(&mut delivery, &[leader], 100), []);
        let left = entry(11, LEADER, 11, BEGUN);
        assert_eq!(pass(&mut delivery, &[leader, left], 105), [11]);
        // It had got it in the group, and leaves only now.
        let mut delivery = self::delivery();
        let member = entry(11, LEADER, LEADER, 60);
        assert_eq!(pass(&mut delivery, &[leader, member], 100), []);
        let left = entry(11, LEADER, 11, 60);
        assert_eq!(pass(&mut delivery, &[leader, left], 105), []);
    }

    #[test]
    fn what_is_begotten_between_a_look_and_the_signal_gets_it_with_all_its_descendants() {
        let mut delivery = delivery();
        let outside = entry(12, LEADER, 12, 60);
        assert_eq!(pass(&mut delivery, &[outside], 105), [12]);
        let child = entry(13, 12, 12, 105);
        let grandchild = entry(14, 13, 12, 106);
        assert_eq!(
            pass(&mut delivery, &[outside, child, grandchild], 110),
            [13]
        );
        assert_eq!(
            pass(&mut delivery, &[outside, child, grandchild], 115),
            [14]
        );
        // Its parent is gone.
        let orphan = entry(15, 1, 12, 115);
        assert_eq!(pass(&mut delivery, &[orphan], 120), [15]);
    }

    #[test]
    fn what_is_begotten_by_one_that_has_got_it_is_left_to_tidy_up() {
        let mut delivery = delivery();
        let leader = entry(LEADER, 1, LEADER, 50);
        let outside = entry(12, LEADER, 12, 60);
        assert_eq!(pass(&mut delivery, &[leader, outside], 105), [12]);
        let tidying = [
            leader,
            outside,
            entry(20, LEADER, LEADER, 100),
            entry(21, LEADER, 21, 101),
            entry(22, 21, 21, 101),
            entry(23, 12, 12, 106),
            entry(24, 1, 24, 106),
        ];
        assert_eq!(pass(&mut delivery, &tidying, 110), []);
        assert_eq!(pass(&mut delivery, &tidying, 110), []);
        assert!(!delivery.is_under_way());
    }

    #[test]
    fn a_child_that_is_met_before_its_parent_waits_for_the_next_pass() {
        let mut delivery = delivery();
        let outside = entry(12, LEADER, 12, 60);
        assert_eq!(pass(&mut delivery, &[outside], 105), [12]);
        // Numbers began anew meanwhile, so that the child's is below its parent's.
        let (parent, child) = (entry(30, 12, 12, 105), entry(3, 30, 12, 106));
        assert_eq!(pass(&mut delivery, &[parent, child, outside], 106), [30]);
        assert!(delivery.is_under_way());
        assert_eq!(pass(&mut delivery, &[parent, child, outside], 107), [3]);
        // The parent tidies up, and its child helps it.
        let (parent, child) = (entry(40, 12, 12, 120), entry(4, 40, 12, 120));
        assert_eq!(pass(&mut delivery, &[parent, child, outside], 121), []);
        assert_eq!(pass(&mut delivery, &[parent, child, outside], 122), []);
    }

    #[test]
    fn it_is_under_way_until_passes_in_a_row_found_nobody_without_it() {
        let mut delivery = delivery();
        let members = [entry(12, LEADER, 12, 60)];
        assert!(delivery.is_under_way());
        pass(&mut delivery, &members, 101);
        pass(&mut delivery, &members, 102);
        assert!(delivery.is_under_way());
        // One that did not see all says nothing.
        delivery.take_in(&members, false);
        pass(&mut delivery, &members, 103);
        assert!(delivery.is_under_way());
        pass(&mut delivery, &members, 104);
        assert!(!delivery.is_under_way());
        // Who is found even later still gets it.
        let late = [members[0], entry(13, 1, 13, 99)];
        assert_eq!(pass(&mut delivery, &late, 200), [13]);
        assert!(delivery.is_under_way());
    }
}

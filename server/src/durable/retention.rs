//! Which durable executions go so that others have room: those that have ended, by age, by number and by what they take on disk.
//! Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use super::kept::DURABLE_KEPT;

/// Each caller has at most one of so many parts of everything.
const CALLERS_PART: u64 = 10;

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionLimits {
    /// Executions, those that run among them.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// After its end.
    pub age: Duration,
}

impl Default for RetentionLimits {
    fn default() -> Self {
        Self {
            records: 100_000,
            bytes: 20 * 1024 * 1024 * 1024,
            age: DURABLE_KEPT,
        }
    }
}

/// There is no room for another one: those that run, or cannot be deleted, hold all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

/// What is kept of whom.
#[derive(Debug, Default)]
pub(super) struct Retention {
    limits: RetentionLimits,
    holders: HashMap<String, Holding>,
    total: Amount,
}

/// What one caller holds.
#[derive(Debug, Default)]
struct Holding {
    /// Those that have ended and can go, the oldest first.
    ended: BTreeMap<(SystemTime, Uuid), u64>,
    /// Those that have ended and could not be deleted: they count, and others go in their place.
    stuck: BTreeMap<(SystemTime, Uuid), u64>,
    running: HashMap<Uuid, u64>,
    amount: Amount,
}

#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    records: u64,
    bytes: u64,
}

impl Amount {
    fn change(&mut self, records: i64, before: u64, after: u64) {
        self.records = self.records.saturating_add_signed(records);
        self.bytes = (self.bytes + after).saturating_sub(before);
    }

    /// Whether one more, or nothing more, is too much where one of `parts` is there.
    fn is_over(self, limits: RetentionLimits, parts: u64, more: u64) -> bool {
        self.records + more > (limits.records / parts).max(1)
            || self.bytes + more > (limits.bytes / parts).max(1)
    }
}

impl Retention {
    /// `caller`'s execution `id` runs, and takes `bytes` so far.
    pub(super) fn run(&mut self, caller: &str, id: Uuid, bytes: u64) {
        let holding = self.holders.entry(caller.to_owned()).or_default();
        let before = holding.running.insert(id, bytes);
        let records = i64::from(before.is_none());
        for amount in [&mut holding.amount, &mut self.total] {
            amount.change(records, before.unwrap_or_default(), bytes);
        }
    }

    /// It has ended at `time`, and takes `bytes`.
    pub(super) fn end(&mut self, caller: &str, id: Uuid, time: SystemTime, bytes: u64) {
        self.run(caller, id, bytes);
        if let Some(holding) = self.holders.get_mut(caller) {
            holding.running.remove(&id);
            holding.ended.insert((time, id), bytes);
        }
    }

    /// It is gone, which had ended at `time`.
    pub(super) fn forget(&mut self, caller: &str, id: Uuid, time: SystemTime) {
        let Some(holding) = self.holders.get_mut(caller) else {
            return;
        };
        let rank = (time, id);
        let ended = holding.ended.remove(&rank);
        let Some(bytes) = ended.or_else(|| holding.stuck.remove(&rank)) else {
            return;
        };
        for amount in [&mut holding.amount, &mut self.total] {
            amount.change(-1, bytes, 0);
        }
        if holding.amount.records == 0 {
            self.holders.remove(caller);
        }
    }

    /// `id`, which was to go, could not be deleted: it is not named again for now.
    pub(super) fn set_aside(&mut self, id: Uuid) {
        for holding in self.holders.values_mut() {
            let stuck = holding.ended.extract_if(.., |&(_, ended), _| ended == id);
            holding.stuck.extend(stuck);
        }
    }

    /// All that have ended are named again.
    pub(super) fn try_again(&mut self) {
        for holding in self.holders.values_mut() {
            holding.ended.append(&mut holding.stuck);
        }
    }

    /// Those that run.
    pub(super) fn running(&self) -> impl Iterator<Item = Uuid> {
        let running = self.holders.values().map(|holding| &holding.running);
        running.flat_map(HashMap::keys).copied()
    }

    /// The next one that is to go at `now`.
    pub(super) fn surplus(&self, now: SystemTime) -> Option<Uuid> {
        self.too_old(now)
            .or_else(|| self.holders.values().find_map(|one| self.too_much(one, 0)))
            .or_else(|| self.of_the_largest(0))
    }

    /// The next one that is to go so that `caller` may have another; `None`: there is room.
    pub(super) fn for_another(&self, caller: &str) -> Result<Option<Uuid>, NoRoom> {
        if let Some(holding) = self.holders.get(caller)
            && holding.amount.is_over(self.limits, CALLERS_PART, 1)
        {
            return self.too_much(holding, 1).map(Some).ok_or(NoRoom);
        }
        if self.total.is_over(self.limits, 1, 1) {
            return self.of_the_largest(1).map(Some).ok_or(NoRoom);
        }
        Ok(None)
    }

    fn too_old(&self, now: SystemTime) -> Option<Uuid> {
        let oldest = self.holders.values().filter_map(Holding::oldest);
        let (time, id) = oldest.min()?;
        // A clock that was set back makes nothing old.
        let age = now.duration_since(time).unwrap_or_default();
        (age > self.limits.age).then_some(id)
    }

    fn too_much(&self, holding: &Holding, more: u64) -> Option<Uuid> {
        let is_over = holding.amount.is_over(self.limits, CALLERS_PART, more);
        holding.oldest().filter(|_| is_over).map(|(_, id)| id)
    }

    /// The oldest of who has most, of that of which there is too much.
    fn of_the_largest(&self, more: u64) -> Option<Uuid> {
        if !self.total.is_over(self.limits, 1, more) {
            return None;
        }
        let by_records = self.total.records + more > self.limits.records;
        let size = |holding: &&Holding| {
            if by_records {
                holding.amount.records
            } else {
                holding.amount.bytes
            }
        };
        let with_ended = self
            .holders
            .values()
            .filter(|holding| !holding.ended.is_empty());
        let largest = with_ended.max_by_key(size)?;
        largest.oldest().map(|(_, id)| id)
    }
}

impl Holding {
    fn oldest(&self) -> Option<(SystemTime, Uuid)> {
        self.ended.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn retention(records: u64, bytes: u64) -> Retention {
        Retention {
            limits: RetentionLimits {
                records,
                bytes,
                age: Duration::from_secs(100),
            },
            ..Retention::default()
        }
    }

    #[test]
    fn what_is_too_old_goes_the_oldest_first() {
        let mut kept = retention(1000, 1000);
        kept.end("a", id(1), at(10), 1);
        kept.end("b", id(2), at(5), 1);
        kept.run("a", id(3), 1);
        assert_eq!(kept.surplus(at(105)), None);
        assert_eq!(kept.surplus(at(106)), Some(id(2)));
        kept.forget("b", id(2), at(5));
        assert_eq!(kept.surplus(at(106)), None);
        assert_eq!(kept.surplus(at(111)), Some(id(1)));
        // The clock was set back.
        assert_eq!(kept.surplus(at(0)), None);
    }

    #[test]
    fn a_caller_has_a_tenth() {
        let mut kept = retention(20, 10_000);
        kept.end("a", id(1), at(1), 0);
        assert_eq!(kept.for_another("a"), Ok(None));
        kept.run("a", id(2), 0);
        assert_eq!(kept.for_another("a"), Ok(Some(id(1))));
        assert_eq!(kept.for_another("b"), Ok(None));
        assert_eq!(kept.surplus(at(2)), None);
        kept.forget("a", id(1), at(1));
        kept.run("a", id(3), 0);
        assert_eq!(kept.for_another("a"), Err(NoRoom));
        kept.end("a", id(3), at(3), 0);
        kept.end("a", id(2), at(2), 1001);
        assert_eq!(kept.surplus(at(4)), Some(id(2)));
        kept.forget("a", id(2), at(2));
        assert_eq!(kept.surplus(at(4)), None);
    }

    #[test]
    fn of_too_much_in_all_the_largest_holder_gives() {
        let mut kept = retention(1000, 100);
        let callers = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        for (number, caller) in callers.into_iter().enumerate() {
            let number = number as u64;
            kept.end(caller, id(number.into()), at(number), 9);
        }
        kept.run("k", id(20), 9);
        assert_eq!(kept.for_another("l"), Ok(None));
        kept.end("c", id(21), at(50), 1);
        // What it is the largest in is what there is too much of; its oldest goes.
        assert_eq!(kept.for_another("l"), Ok(Some(id(2))));
        assert_eq!(kept.surplus(at(60)), None);
        kept.run("k", id(20), 10);
        assert_eq!(kept.surplus(at(60)), Some(id(2)));
        kept.forget("c", id(2), at(2));
        assert_eq!(kept.surplus(at(60)), None);
    }

    #[test]
    fn what_cannot_be_deleted_counts_and_others_go_in_its_place() {
        let mut kept = retention(2, 1000);
        kept.end("a", id(1), at(1), 0);
        kept.end("a", id(2), at(2), 0);
        assert_eq!(kept.for_another("c"), Ok(Some(id(1))));
        kept.set_aside(id(1));
        assert_eq!(kept.for_another("c"), Ok(Some(id(2))));
        assert_eq!(kept.surplus(at(200)), Some(id(2)));
        kept.set_aside(id(2));
        assert_eq!(kept.for_another("c"), Err(NoRoom));
        assert_eq!(kept.surplus(at(200)), None);
        // Who asks for it by name may have it go.
        kept.forget("a", id(2), at(2));
        assert_eq!(kept.for_another("c"), Ok(None));
        kept.run("c", id(3), 0);
        assert_eq!(kept.for_another("d"), Err(NoRoom));
        kept.try_again();
        assert_eq!(kept.for_another("d"), Ok(Some(id(1))));
        kept.forget("a", id(1), at(1));
        assert_eq!(kept.for_another("d"), Ok(None));
    }

    #[test]
    fn those_that_run_alone_leave_no_room() {
        let mut kept = retention(3, 1000);
        for (number, caller) in ["a", "b", "c"].into_iter().enumerate() {
            kept.run(caller, id(number as u128), 0);
        }
        assert_eq!(kept.for_another("d"), Err(NoRoom));
        assert_eq!(kept.surplus(at(1)), None);
        kept.end("b", id(1), at(1), 0);
        assert_eq!(kept.for_another("d"), Ok(Some(id(1))));
    }
}

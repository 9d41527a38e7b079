//! The records: of what runs, and for a while of what has ended.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use uuid::Uuid;

use super::{EndRecord, Execution, Measures};

/// How long the record of an ended execution is kept.
pub const ENDED_KEPT: Duration = Duration::from_mins(10);

/// How many such records are kept.
pub const ENDED_RECORDS: usize = 1000;

/// What they may take in memory, all together.
pub const ENDED_BYTES: usize = 32 * 1024 * 1024;

/// Where an execution stands in a listing: by the time when it was asked for.
pub type Rank = (SystemTime, Uuid);

/// What a listing is to hold.
#[derive(Debug, Default)]
pub struct Filter {
    /// Only those older than this one.
    pub before: Option<Rank>,
    /// At most this many.
    pub records: usize,
    /// Those that run.
    pub running: bool,
    /// Those that have ended.
    pub ended: bool,
    /// Only those with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only this caller's, as it is displayed.
    pub caller: Option<String>,
}

/// Part of a listing.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub executions: Vec<Arc<Execution>>,
    /// There are more.
    pub more: bool,
}

/// Cheap to clone; clones share the records.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    /// By age.
    all: BTreeMap<Rank, Arc<Execution>>,
    ranks: HashMap<Uuid, Rank>,
    /// Those that are not durable, in the order in which they ended.
    ended: VecDeque<(Instant, Uuid)>,
    ended_bytes: usize,
    measures: Arc<Measures>,
}

impl Registry {
    /// What counts the ends.
    pub(super) fn measures(&self) -> Arc<Measures> {
        Arc::clone(&self.lock().measures)
    }

    pub(crate) fn insert(&self, execution: Arc<Execution>) {
        let mut records = self.lock();
        let rank = execution.rank();
        records.ranks.insert(execution.id, rank);
        records.all.insert(rank, execution);
    }

    /// `execution` has ended. Whoever sees that finds it counted among the ended: it may be removed at once.
    pub(crate) fn retire(&self, execution: &Execution, end: EndRecord) {
        let mut records = self.lock();
        records.measures.ended(&end.exit.outcome);
        execution.end(end);
        if execution.kept.is_none() {
            records.ended_bytes += execution.cost();
            records.ended.push_back((Instant::now(), execution.id));
        }
    }

    /// Drops the records of ended executions that are too old or too many.
    pub(super) fn forget(&self) {
        self.lock().forget(Instant::now());
    }

    pub(crate) fn find(&self, id: Uuid) -> Option<Arc<Execution>> {
        let mut records = self.lock();
        records.forget(Instant::now());
        let rank = records.ranks.get(&id)?;
        records.all.get(rank).cloned()
    }

    /// Forgets an ended execution; `false`: somebody else has.
    pub(crate) fn remove(&self, execution: &Execution) -> bool {
        let mut records = self.lock();
        let is_there = records.remove(execution.id).is_some();
        if is_there && execution.kept.is_none() {
            records.ended.retain(|&(_, id)| id != execution.id);
            records.ended_bytes -= execution.cost();
        }
        is_there
    }

    pub(super) fn running(&self) -> Vec<Arc<Execution>> {
        let records = self.lock();
        let all = records.all.values();
        let running = all.filter(|one| one.end_record().is_none());
        running.cloned().collect()
    }

    pub(super) fn list(&self, filter: &Filter, may_see: impl Fn(&Execution) -> bool) -> Page {
        let mut records = self.lock();
        records.forget(Instant::now());
        let older = match filter.before {
            Some(before) => records.all.range(..before),
            None => records.all.range(..),
        };
        let mut found = older
            .rev()
            .map(|(_, execution)| execution)
            .filter(|execution| filter.matches(execution) && may_see(execution));
        let executions: Vec<_> = found.by_ref().take(filter.records).cloned().collect();
        Page {
            more: found.next().is_some(),
            executions,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    /// Drops the records that are too old or too many at `now`.
    fn forget(&mut self, now: Instant) {
        while let Some(&(ended, id)) = self.ended.front() {
            let over = self.ended.len() > ENDED_RECORDS || self.ended_bytes > ENDED_BYTES;
            if !over && now.duration_since(ended) < ENDED_KEPT {
                return;
            }
            self.ended.pop_front();
            if let Some(execution) = self.remove(id) {
                self.ended_bytes -= execution.cost();
            }
        }
    }

    fn remove(&mut self, id: Uuid) -> Option<Arc<Execution>> {
        let rank = self.ranks.remove(&id)?;
        self.all.remove(&rank)
    }
}

impl Filter {
    fn matches(&self, execution: &Execution) -> bool {
        let running = execution.end_record().is_none();
        (if running { self.running } else { self.ended })
            && self
                .labels
                .iter()
                .all(|(key, value)| execution.labels.get(key) == Some(value))
            && self
                .caller
                .as_ref()
                .is_none_or(|caller| *caller == execution.caller.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Liveness,
            testing::{lost, shell},
        },
        *,
    };
    use crate::{
        attached::{mailbox::mailbox, waiting_stdin::StdinMemory},
        budget::Budget,
        id::new_id,
        traces::ExecutionSpan,
    };

    /// An execution whose record takes so many bytes.
    fn execution(bytes: usize) -> Arc<Execution> {
        let new = shell("true");
        let mut memory = Budget::new(usize::MAX).share();
        memory.grow(bytes);
        Arc::new(Execution {
            id: new_id(),
            spec: new.spec,
            applied: None,
            until_end: false,
            labels: new.labels,
            caller: new.caller,
            through: new.through,
            created: SystemTime::now(),
            pid: 1,
            counters: Arc::default(),
            stdin: StdinMemory::default().room(),
            kept: None,
            memory,
            life: Liveness::running(mailbox().0, ExecutionSpan::default()),
        })
    }

    fn end() -> EndRecord {
        EndRecord {
            exit: lost(),
            lost: None,
            time: SystemTime::now(),
        }
    }

    /// Whether the records of executions of so many bytes each, which ended in this order, are there.
    fn kept(bytes: &[usize]) -> Vec<bool> {
        let registry = Registry::default();
        let executions: Vec<_> = bytes.iter().map(|&bytes| execution(bytes)).collect();
        for execution in &executions {
            registry.insert(Arc::clone(execution));
        }
        for execution in &executions {
            registry.retire(execution, end());
        }
        let ids = executions.iter().map(|execution| execution.id);
        ids.map(|id| registry.find(id).is_some()).collect()
    }

    #[test]
    fn the_record_of_an_ended_execution_is_kept_for_10_minutes() {
        let registry = Registry::default();
        let (running, ended) = (execution(1), execution(1));
        for execution in [&running, &ended] {
            registry.insert(Arc::clone(execution));
        }
        registry.retire(&ended, end());
        let mut records = registry.lock();
        let at = records.ended[0].0;
        records.forget(at + Duration::from_millis(599_999));
        assert_eq!(records.all.len(), 2);
        records.forget(at + Duration::from_mins(10));
        assert!(records.all.keys().eq([&running.rank()]));
        assert_eq!(records.ended_bytes, 0);
    }

    #[test]
    fn no_more_than_1000_records_of_ended_executions_are_kept() {
        assert!(kept(&[1; 1000]).iter().all(|&is_kept| is_kept));
        let kept = kept(&[1; 1001]);
        assert!(!kept[0]);
        assert!(kept[1..].iter().all(|&is_kept| is_kept));
    }

    #[test]
    fn records_of_ended_executions_take_no_more_than_32_mib() {
        const MIB: usize = 1_048_576;
        assert_eq!(kept(&[16 * MIB, 16 * MIB]), [true, true]);
        assert_eq!(kept(&[16 * MIB, 16 * MIB + 1]), [false, true]);
        assert_eq!(kept(&[1, 33 * MIB, 1]), [false, false, true]);
    }
}

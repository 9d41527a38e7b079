//! One look at /proc for all trees of the sweep: it stops, signals and kills what belongs to those that are asked about,
//! and finds out which are gone. It runs on the keeper's thread; a pass costs what the machine's processes cost, however
//! many trees there are.

use std::{
    collections::{HashMap, HashSet},
    io, mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    delivery::Delivery,
    leaders::Leaders,
    signal,
    survivors::Slot,
    sweep::{Job, PASSES, Sweep},
    table::{self, Entry, Environment, ProcessTable, State, now_in_ticks},
};

/// Passes in which a tree that is killed may turn out larger, and is only stopped; then it is killed as far as it is known.
const MAX_STOP_PASSES: u32 = 3;

/// What a crash has left is hunted for so long.
const LEFTOVER_BOUND: Duration = Duration::from_secs(4);

/// A pass over the processes: who they are, and whose.
#[derive(Debug)]
pub(super) struct Scanner {
    table: ProcessTable,
    /// What the environments of processes said, with when each process began; only tags that trees may have.
    tags: HashMap<i32, (u64, Option<String>)>,
    prefix: String,
    ending: Vec<Ending>,
    left: Vec<Left>,
    has_news: bool,
}

/// A tree that something was asked of: from then on to the end of its supervision it is kept in mind.
#[derive(Debug)]
struct Ending {
    sweep: Arc<Sweep>,
    known: Known,
    /// What was sent to it, the last of each number.
    deliveries: Vec<Delivery>,
    stop_passes: u32,
}

/// What a command has left behind.
#[derive(Debug)]
struct Left {
    /// 0 once others may have its number.
    leader: i32,
    tag: String,
    known: Known,
    slot: Slot,
}

/// The processes of a tree that a pass has met, each with when it began: they belong to it whatever becomes of their
/// parents, sessions and environments.
type Known = HashMap<i32, u64>;

/// How to tell whose a process is.
#[derive(Debug, Default)]
struct Owners<'a> {
    by_leader: HashMap<i32, usize>,
    by_tag: HashMap<&'a str, usize>,
    known: HashMap<i32, (u64, usize)>,
}

impl<'a> Owners<'a> {
    fn add(&mut self, owner: usize, leader: i32, tag: &'a str, known: &Known) {
        if leader > 0 {
            self.by_leader.insert(leader, owner);
        }
        self.by_tag.insert(tag, owner);
        let known = known.iter();
        self.known
            .extend(known.map(|(&pid, &started)| (pid, (started, owner))));
    }

    /// By what the table shows of it.
    fn of(&self, entry: &Entry) -> Option<usize> {
        let known = self.known.get(&entry.pid);
        let known = known.filter(|(started, _)| *started == entry.started);
        self.by_leader
            .get(&entry.pid)
            .or_else(|| self.by_leader.get(&entry.session))
            .copied()
            .or(known.map(|(_, owner)| *owner))
    }
}

impl Scanner {
    /// For the trees of `instance`.
    pub(super) fn new(instance: &str, table: ProcessTable) -> Self {
        Self {
            table,
            tags: HashMap::new(),
            prefix: format!("{instance}."),
            ending: Vec::new(),
            left: Vec::new(),
            has_news: false,
        }
    }

    /// Takes up a tree that something is asked of.
    pub(super) fn take_up(&mut self, sweep: Arc<Sweep>) {
        if sweep.take_up() {
            self.ending.push(Ending {
                sweep,
                known: Known::new(),
                deliveries: Vec::new(),
                stop_passes: 0,
            });
        }
    }

    /// Looks after what a command may have left behind, until nothing of it lives.
    pub(super) fn watch(&mut self, sweep: &Arc<Sweep>, slot: Slot) {
        let mut ending = self.ending.iter();
        let ending = ending.find(|ending| Arc::ptr_eq(&ending.sweep, sweep));
        self.left.push(Left {
            leader: sweep.leader(),
            tag: sweep.tag().to_owned(),
            known: ending
                .map(|ending| ending.known.clone())
                .unwrap_or_default(),
            slot,
        });
        self.has_news = true;
    }

    /// Whether something may have been left behind since this was last asked.
    pub(super) fn has_news(&mut self) -> bool {
        mem::take(&mut self.has_news)
    }

    /// Whether a tree waits for a pass.
    pub(super) fn is_asked(&self) -> bool {
        self.ending.iter().any(Ending::is_asked)
    }

    /// Nothing lives that has lost its leader.
    pub(super) fn forget_left(&mut self) -> Vec<Slot> {
        self.left.drain(..).map(|left| left.slot).collect()
    }

    /// One pass for the trees that are being ended.
    pub(super) fn pass(&mut self, leaders: &Leaders) {
        self.ending.retain(|ending| !ending.sweep.is_over());
        if !self.ending.is_empty() {
            let (jobs, seen) = self.see();
            self.act(&jobs, &seen, leaders);
        }
    }

    /// Takes what is asked of each tree, and meets the members of all. Those of trees that are killed are stopped.
    fn see(&mut self) -> (Vec<Job>, Seen) {
        let jobs: Vec<Job> = self
            .ending
            .iter()
            .map(|ending| ending.sweep.begin_pass())
            .collect();
        let mut owners = Owners::default();
        for (owner, ending) in self.ending.iter().enumerate() {
            let sweep = &ending.sweep;
            owners.add(owner, sweep.leader(), sweep.tag(), &ending.known);
        }
        let mut stopped = HashSet::new();
        let table = &self.table;
        let seen = meet_all(
            table,
            &mut self.tags,
            &self.prefix,
            &owners,
            &mut |owner, entry| {
                if jobs[owner].kill && entry.state != State::Dead && stopped.insert(entry.pid) {
                    signal::send(libc::SIGSTOP, entry.pid, || table.is_same(entry));
                }
            },
        );
        (jobs, seen)
    }

    /// Does what was asked of each tree, to those that were seen.
    fn act(&mut self, jobs: &[Job], seen: &Seen, leaders: &Leaders) {
        let is_whole = seen.error.is_none();
        for (owner, (ending, job)) in self.ending.iter_mut().zip(jobs).enumerate() {
            let members = seen.members.get(&owner).map_or(&[][..], Vec::as_slice);
            ending.act(job, members, is_whole, &self.table, leaders);
        }
    }

    /// One pass for what commands have left behind. Returns the slots of those of which nothing lives any more.
    pub(super) fn look_after_left(&mut self) -> Vec<Slot> {
        if self.left.is_empty() {
            return Vec::new();
        }
        let mut owners = Owners::default();
        for (owner, left) in self.left.iter().enumerate() {
            owners.add(owner, left.leader, &left.tag, &left.known);
        }
        let seen = meet_all(
            &self.table,
            &mut self.tags,
            &self.prefix,
            &owners,
            &mut |_, _| {},
        );
        if seen.error.is_some() {
            return Vec::new();
        }
        let mut gone = Vec::new();
        let mut owner = 0;
        self.left.retain_mut(|left| {
            let members = seen.members.get(&owner);
            owner += 1;
            left.leader = 0;
            left.known = members.into_iter().flatten().map(identity).collect();
            if members.is_none() {
                gone.push(left.slot);
            }
            members.is_some()
        });
        gone
    }
}

impl Ending {
    /// Whether a pass has something to do about it.
    fn is_asked(&self) -> bool {
        let is_sending = self.deliveries.iter().any(Delivery::is_under_way);
        self.sweep.is_asked() || (is_sending && !self.sweep.is_over())
    }

    /// Does what `job` asks, to what a pass has found, all of it or a part.
    fn act(
        &mut self,
        job: &Job,
        members: &[Entry],
        is_whole: bool,
        table: &ProcessTable,
        leaders: &Leaders,
    ) {
        if job.kill {
            // Everything gets KILL, and stands still until then.
            self.deliveries.clear();
        } else if job.signals.is_empty() {
            self.send(members, is_whole, table);
        } else {
            for &number in &job.signals {
                self.begin(number, leaders);
            }
            // Who has left the leader's process group since the pass may not have got what that got.
            let now: Vec<Entry> = members
                .iter()
                .filter_map(|entry| table.look_again(entry))
                .collect();
            self.send(&now, is_whole, table);
        }
        let mut has_grown = false;
        for entry in members {
            has_grown |= self.known.insert(entry.pid, entry.started) != Some(entry.started);
        }
        if is_whole {
            self.known = members.iter().map(identity).collect();
        }
        if job.kill {
            // As long as all that is known stands still, the next pass finds what descends from it.
            self.stop_passes += 1;
            if !has_grown || !is_whole || self.stop_passes >= MAX_STOP_PASSES {
                self.stop_passes = 0;
                self.to_group(libc::SIGKILL, leaders);
                for entry in members {
                    signal::send(libc::SIGKILL, entry.pid, || table.is_same(entry));
                }
            }
        }
        let states: Vec<State> = members.iter().map(|entry| entry.state).collect();
        self.sweep.end_pass(job, is_whole.then_some(&states));
    }

    /// Begins to send `number`: at once to the leader's process group.
    fn begin(&mut self, number: i32, leaders: &Leaders) {
        self.to_group(number, leaders);
        let is_void = |other| match number {
            libc::SIGSTOP => other == libc::SIGCONT,
            libc::SIGCONT => other == libc::SIGSTOP,
            _ => false,
        };
        self.deliveries
            .retain(|other| other.number() != number && !is_void(other.number()));
        let leader = self.sweep.leader();
        self.deliveries
            .push(Delivery::begin(number, leader, now_in_ticks()));
    }

    /// Sends what was begun to those of `members` that have not got it.
    fn send(&mut self, members: &[Entry], is_whole: bool, table: &ProcessTable) {
        for delivery in &mut self.deliveries {
            for entry in delivery.take_in(members, is_whole) {
                signal::send(delivery.number(), entry.pid, || table.is_same(&entry));
                delivery.sent(&entry, now_in_ticks());
            }
        }
    }

    fn to_group(&self, number: i32, leaders: &Leaders) {
        let leader = self.sweep.leader();
        leaders.with_unreaped(leader, || {
            // An error says that nothing is left in it.
            let _ = signal::group(leader, number);
        });
    }
}

fn identity(entry: &Entry) -> (i32, u64) {
    (entry.pid, entry.started)
}

/// What a pass has seen.
struct Seen {
    /// The living processes of each owner that has any.
    members: HashMap<usize, Vec<Entry>>,
    /// Why some may not have been met.
    error: Option<io::Error>,
}

/// Goes through all processes and finds out whose they are. `met` is told as early as possible: what forks and leaves over
/// and over, in a group of its own, is gone before a list is made.
fn meet_all(
    table: &ProcessTable,
    tags: &mut HashMap<i32, (u64, Option<String>)>,
    prefix: &str,
    owners: &Owners<'_>,
    met: &mut dyn FnMut(usize, &Entry),
) -> Seen {
    let mut entries: HashMap<i32, Entry> = HashMap::new();
    let mut owned: HashMap<i32, usize> = HashMap::new();
    let visited = table.visit(|entry| {
        entries.insert(entry.pid, entry);
        let owner = owners
            .of(&entry)
            .or_else(|| owned.get(&entry.parent).copied())
            .or_else(|| {
                let tag = tag_of(table, tags, prefix, &entry)?;
                owners.by_tag.get(tag).copied()
            });
        if let Some(owner) = owner {
            owned.insert(entry.pid, owner);
            met(owner, &entry);
        }
    });
    if visited.is_ok() {
        tags.retain(|pid, _| entries.contains_key(pid));
    }
    let early: HashSet<i32> = owned.keys().copied().collect();
    table::inherit(&entries, &mut owned);
    let mut members: HashMap<usize, Vec<Entry>> = HashMap::new();
    for (pid, owner) in owned {
        let entry = entries[&pid];
        if !early.contains(&pid) {
            met(owner, &entry);
        }
        if entry.state != State::Dead {
            members.entry(owner).or_default().push(entry);
        }
    }
    Seen {
        members,
        error: visited.err(),
    }
}

/// The tag that a process carries, if it begins with `prefix`. A process's environment is read once: it is born with its
/// tree's tag, and belongs to it, whatever it executes later.
fn tag_of<'a>(
    table: &ProcessTable,
    tags: &'a mut HashMap<i32, (u64, Option<String>)>,
    prefix: &str,
    entry: &Entry,
) -> Option<&'a str> {
    let is_read = tags
        .get(&entry.pid)
        .is_some_and(|(started, _)| *started == entry.started);
    if !is_read {
        let tag = match table.tag_of(entry.pid) {
            Environment::Unknown => return None,
            Environment::Untagged => None,
            Environment::Tagged(tag) => tag.starts_with(prefix).then_some(tag),
        };
        tags.insert(entry.pid, (entry.started, tag));
    }
    tags.get(&entry.pid)?.1.as_deref()
}

/// Kills what carries a tag of `instance`, but for executions that `keep` names, within a bound. Returns how many processes
/// that were, and whether all of them are gone.
pub(super) fn kill_leftovers(
    instance: &str,
    table: &ProcessTable,
    keep: impl Fn(&str) -> bool,
) -> (usize, bool) {
    let prefix = format!("{instance}.");
    let is_left = |pid| match table.tag_of(pid) {
        Environment::Tagged(tag) => tag
            .strip_prefix(&prefix)
            .is_some_and(|execution| !keep(execution)),
        Environment::Untagged | Environment::Unknown => false,
    };
    let deadline = Instant::now() + LEFTOVER_BOUND;
    let mut known: HashMap<i32, u64> = HashMap::new();
    let mut killed = HashSet::new();
    let (mut empty, mut stop_passes) = (0, 0);
    while empty < PASSES {
        if Instant::now() >= deadline {
            return (killed.len(), false);
        }
        let mut entries = HashMap::new();
        let mut owned = HashMap::new();
        let stop = |entry: &Entry| {
            signal::send(libc::SIGSTOP, entry.pid, || table.is_same(entry));
        };
        let visited = table.visit(|entry| {
            entries.insert(entry.pid, entry);
            let is_known = known.get(&entry.pid) == Some(&entry.started);
            if entry.state != State::Dead && (is_known || is_left(entry.pid)) {
                owned.insert(entry.pid, 0);
                stop(&entry);
            }
        });
        table::inherit(&entries, &mut owned);
        let mut has_grown = false;
        let mut found = Vec::new();
        for entry in owned.keys().map(|pid| entries[pid]) {
            if entry.state != State::Dead {
                let is_new = known.insert(entry.pid, entry.started) != Some(entry.started);
                if is_new {
                    stop(&entry);
                }
                has_grown |= is_new;
                found.push(entry);
            }
        }
        empty = match found[..] {
            [] if visited.is_ok() => empty + 1,
            _ => 0,
        };
        stop_passes += 1;
        if !has_grown || stop_passes >= MAX_STOP_PASSES {
            stop_passes = 0;
            for entry in &found {
                killed.insert(identity(entry));
                signal::send(libc::SIGKILL, entry.pid, || table.is_same(entry));
            }
            std::thread::yield_now();
        }
    }
    (killed.len(), true)
}

#[cfg(test)]
mod tests;

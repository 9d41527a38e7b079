//! The fallback where cgroup v2 cannot be written: a tree is known by its leader's session, by descent, and by a tag in
//! the environment. The server is a subreaper, so that orphans become its own children and stay in its sight.
//!
//! What it cannot do: a process that clears its environment, leaves its session and loses its parent is out of sight.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::{containment::TreeLook, signal};

/// The environment variable that tags a tree: `INSTANCE.EXECUTION`.
pub(super) const TAG: &str = "REMEX_EXECUTION";

/// Empty sweeps in a row after which a tree counts as gone: one alone may have looked while a process forked.
const SWEEPS: u32 = 2;

/// The leaders that are not reaped yet, so that nobody reaps them as orphans.
#[derive(Debug, Default)]
pub(super) struct Leaders(Mutex<HashSet<i32>>);

impl Leaders {
    /// Makes this process the one that orphans fall to.
    pub(super) fn open() -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self::default())
    }

    /// Held while a leader is made, so that it is known before anybody looks for orphans.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps children that ended and that nobody else waits for.
    pub(super) fn reap_orphans(&self) {
        let leaders = self.lock();
        let own = own_pid();
        for (pid, process) in snapshot() {
            if process.parent == own && process.dead && !leaders.contains(&pid) {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = rustix::process::waitid(WaitId::Pid(pid), options);
                }
            }
        }
    }
}

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
            look(pid).is_some_and(|process| !process.dead && self.is_root(pid, &process))
        });
        self.signal(libc::SIGSTOP);
        self.signal(libc::SIGKILL);
    }

    pub(super) fn signal(&self, number: i32) {
        let all = snapshot();
        signal_all(
            number,
            &all,
            members(&all, |pid, process| self.is_root(pid, process)),
        );
    }

    /// What lives in it; several looks in a row have to find nothing before it is gone.
    pub(super) fn look(&self) -> TreeLook {
        let members = self.members();
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

    /// Whether nothing is alive at one look.
    pub(super) fn looks_empty(&self) -> bool {
        self.members().is_empty()
    }

    fn members(&self) -> Vec<i32> {
        members(&snapshot(), |pid, process| self.is_root(pid, process))
    }

    fn is_root(&self, pid: i32, process: &Process) -> bool {
        process.session == self.leader
            || pid == self.leader
            || read_tag(pid).is_some_and(|tag| tag == self.tag)
    }
}

/// Kills what carries a tag of `instance`, but for executions in `keep`. Returns how many processes that were.
pub(super) fn kill_leftovers(instance: &str, keep: impl Fn(&str) -> bool) -> usize {
    const ROUNDS: usize = 1000;
    let prefix = format!("{instance}.");
    let is_left = |pid| {
        read_tag(pid).is_some_and(|tag| {
            tag.strip_prefix(&prefix)
                .is_some_and(|execution| !keep(execution))
        })
    };
    let list = || members(&snapshot(), |pid, _| is_left(pid));
    let mut seen = HashSet::new();
    let mut empty = 0;
    for _ in 0..ROUNDS {
        let found = list();
        if found.is_empty() {
            empty += 1;
            if empty == SWEEPS {
                break;
            }
            continue;
        }
        empty = 0;
        seen.extend(found);
        stop_as_met(is_left);
        for number in [libc::SIGSTOP, libc::SIGKILL] {
            let all = snapshot();
            signal_all(number, &all, members(&all, |pid, _| is_left(pid)));
        }
        std::thread::yield_now();
    }
    seen.len()
}

/// Stops what `belongs` as it is met: what forks and leaves over and over, in a group of its own, is gone before a list
/// is made.
fn stop_as_met(belongs: impl Fn(i32) -> bool) {
    for pid in pids().filter(|&pid| pid != own_pid()) {
        if belongs(pid) {
            signal::held(libc::SIGSTOP, pid, || belongs(pid));
        }
    }
}

/// Sends a signal to those of `all` that `pids` names, if they are still the same.
fn signal_all(number: i32, all: &HashMap<i32, Process>, pids: Vec<i32>) {
    for pid in pids {
        let is_same = || look(pid).is_some_and(|process| process.started == all[&pid].started);
        signal::held(number, pid, is_same);
    }
}

#[derive(Debug, Clone, Copy)]
struct Process {
    parent: i32,
    session: i32,
    /// In an uninterruptible sleep (D): no signal reaches it.
    held: bool,
    /// In ticks since the boot: with the pid, who it is.
    started: u64,
    dead: bool,
}

/// Living processes that `is_root` names, and their descendants.
fn members(all: &HashMap<i32, Process>, is_root: impl Fn(i32, &Process) -> bool) -> Vec<i32> {
    let own = own_pid();
    let mut found: HashSet<i32> = all
        .iter()
        .filter(|&(&pid, process)| pid != own && is_root(pid, process))
        .map(|(&pid, _)| pid)
        .collect();
    loop {
        let before = found.len();
        let children = all
            .iter()
            .filter(|(_, process)| found.contains(&process.parent))
            .map(|(&pid, _)| pid)
            .collect::<Vec<_>>();
        found.extend(children);
        if found.len() == before {
            break;
        }
    }
    found.retain(|pid| !all[pid].dead);
    found.into_iter().collect()
}

fn snapshot() -> HashMap<i32, Process> {
    pids().filter_map(|pid| Some((pid, look(pid)?))).collect()
}

/// All processes. In rising order and read bit by bit, so that one that is born meanwhile is met, too.
fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether the kernel holds the process, so that no signal reaches it.
pub(super) fn is_held(pid: i32) -> bool {
    look(pid).is_some_and(|process| process.held)
}

fn look(pid: i32) -> Option<Process> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Of `pid (comm) state ppid pgrp session …`, where comm may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Process {
        parent,
        session,
        started,
        held: state == "D",
        dead: matches!(state, "Z" | "X"),
    })
}

fn read_tag(pid: i32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|&byte| byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(TAG.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_last_parenthesis() {
        const REST: &str = "0 -1 4 0 0 0 0 1 2 3 4 20 0 1 0 777 8 9";
        let process = parse_stat(&format!("7 (a) (b) c) S 3 5 9 {REST}")).unwrap();
        assert_eq!(
            (process.parent, process.session, process.started),
            (3, 9, 777)
        );
        assert!(!process.dead);
        let dead = parse_stat(&format!("7 (x) Z 3 5 9 {REST}")).unwrap();
        assert!(dead.dead);
        assert!(parse_stat("7 (x").is_none());
    }

    #[test]
    fn descendants_belong_to_the_tree_and_the_dead_do_not() {
        let process = |parent, session, dead| Process {
            parent,
            session,
            held: false,
            started: 1,
            dead,
        };
        let all = HashMap::from([
            (10, process(1, 10, false)),
            (11, process(10, 11, false)),
            (12, process(11, 12, true)),
            (13, process(12, 13, false)),
            (20, process(1, 20, false)),
        ]);
        let mut found = members(&all, |pid, _| pid == 10);
        found.sort_unstable();
        assert_eq!(found, [10, 11, 13]);
    }
}

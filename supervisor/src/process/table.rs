//! The machine's processes as /proc shows them: who descends from whom, and which tree's tag each carries.

use std::{cell::RefCell, collections::HashMap, collections::HashSet, fs};

/// The environment variable that tags a tree: `INSTANCE.EXECUTION`.
pub(super) const TAG: &str = "REMEX_EXECUTION";

/// All processes at about one time.
#[derive(Debug, Default)]
pub(super) struct Table {
    all: HashMap<i32, Entry>,
    /// Read when first asked for.
    tags: RefCell<HashMap<i32, Option<String>>>,
}

/// One process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) parent: i32,
    pub(super) session: i32,
    /// In an uninterruptible sleep (D): no signal reaches it.
    pub(super) held: bool,
    /// In ticks since the boot: with the pid, who it is.
    pub(super) started: u64,
    pub(super) dead: bool,
}

/// What a look at a tree finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeLook {
    /// Nothing alive.
    Gone,
    /// Processes that signals reach.
    Alive,
    /// Processes that the kernel holds (D state): no signal reaches them.
    Held,
}

impl TreeLook {
    /// Of the processes that were found.
    pub(super) fn of(alive: &[i32]) -> Self {
        if alive.iter().all(|&pid| is_held(pid)) {
            Self::Held
        } else {
            Self::Alive
        }
    }
}

impl Table {
    pub(super) fn read() -> Self {
        Self::of(pids().filter_map(|pid| Some((pid, look(pid)?))))
    }

    fn of(entries: impl IntoIterator<Item = (i32, Entry)>) -> Self {
        Self {
            all: entries.into_iter().collect(),
            tags: RefCell::default(),
        }
    }

    /// Whether `pid` still is the process that it was.
    pub(super) fn is_same(&self, pid: i32) -> bool {
        let before = self.all.get(&pid).map(|entry| entry.started);
        before.is_some() && look(pid).map(|entry| entry.started) == before
    }

    /// Whether `pid` carries a tag that is `wanted`.
    pub(super) fn is_tagged(&self, pid: i32, wanted: impl FnOnce(&str) -> bool) -> bool {
        let mut tags = self.tags.borrow_mut();
        let tag = tags.entry(pid).or_insert_with(|| tag_of(pid));
        tag.as_deref().is_some_and(wanted)
    }

    /// Living processes that `is_root` names, and their descendants.
    pub(super) fn members(&self, is_root: impl Fn(i32, &Entry) -> bool) -> Vec<i32> {
        let own = own_pid();
        let roots = self
            .all
            .iter()
            .filter(|&(&pid, entry)| pid != own && is_root(pid, entry));
        let mut found: HashSet<i32> = roots.map(|(&pid, _)| pid).collect();
        loop {
            let before = found.len();
            let children = self.all.iter();
            let children: Vec<_> = children
                .filter(|(_, entry)| found.contains(&entry.parent))
                .map(|(&pid, _)| pid)
                .collect();
            found.extend(children);
            if found.len() == before {
                break;
            }
        }
        found.retain(|pid| !self.all[pid].dead);
        found.into_iter().collect()
    }
}

/// All processes. In rising order and read bit by bit, so that one that is born meanwhile is met, too.
pub(super) fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process as it is now.
pub(super) fn look(pid: i32) -> Option<Entry> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether the kernel holds the process, so that no signal reaches it.
fn is_held(pid: i32) -> bool {
    look(pid).is_some_and(|entry| entry.held)
}

/// The tag that a process carries.
pub(super) fn tag_of(pid: i32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|&byte| byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(TAG.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

pub(super) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The children of this process, zombies among them. Exact, where none is reaped meanwhile.
pub(super) fn own_children() -> Vec<i32> {
    children_of_threads().unwrap_or_else(|| {
        let own = own_pid();
        let all = Table::read().all.into_iter();
        let children = all.filter(|(_, entry)| entry.parent == own);
        children.map(|(pid, _)| pid).collect()
    })
}

/// By the kernel's own list of each thread's children; `None` where it keeps none (CONFIG_PROC_CHILDREN).
fn children_of_threads() -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task").ok()?.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().flat_map(str::parse::<i32>)),
            // A thread that has ended has left its children to another.
            Err(_) if !thread.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// Of `pid (comm) state ppid pgrp session …`, where comm may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Entry> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Entry {
        parent,
        session,
        started,
        held: state == "D",
        dead: matches!(state, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn stat_is_read_behind_the_last_parenthesis() {
        const REST: &str = "0 -1 4 0 0 0 0 1 2 3 4 20 0 1 0 777 8 9";
        let entry = parse_stat(&format!("7 (a) (b) c) S 3 5 9 {REST}")).unwrap();
        assert_eq!((entry.parent, entry.session, entry.started), (3, 9, 777));
        assert!(!entry.dead);
        let dead = parse_stat(&format!("7 (x) Z 3 5 9 {REST}")).unwrap();
        assert!(dead.dead);
        assert!(parse_stat("7 (x").is_none());
    }

    #[test]
    fn descendants_belong_to_the_tree_and_the_dead_do_not() {
        let entry = |parent, session, dead| Entry {
            parent,
            session,
            held: false,
            started: 1,
            dead,
        };
        let table = Table::of([
            (10, entry(1, 10, false)),
            (11, entry(10, 11, false)),
            (12, entry(11, 12, true)),
            (13, entry(12, 13, false)),
            (20, entry(1, 20, false)),
        ]);
        let mut found = table.members(|pid, _| pid == 10);
        found.sort_unstable();
        assert_eq!(found, [10, 11, 13]);
    }

    #[test]
    fn children_are_found_until_they_are_reaped() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(own_children().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!own_children().contains(&pid));
    }
}

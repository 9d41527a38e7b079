//! The machine's processes as /proc shows them: who descends from whom, and which tree's tag each carries.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags, RawDir, SeekFrom},
    io::Errno,
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};

/// The environment variable that tags a tree: `INSTANCE.EXECUTION`.
pub(crate) const TAG: &str = "REMEX_EXECUTION";

/// Most bytes of a process's environment that are searched for its tag. The kernel lets no program begin with more.
const MAX_ENVIRONMENT_BYTES: usize = 8 << 20;

/// PF_KTHREAD of the kernel's `sched.h`: no program of anybody's.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// In ticks since the boot: with the pid, who it is.
    pub(super) started: u64,
    pub(super) state: State,
}

/// What signals can do to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Alive,
    /// In an uninterruptible sleep (D): no signal reaches it.
    Held,
    Dead,
}

/// What a look at a tree finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeLook {
    /// Nothing alive.
    Gone,
    /// Processes that signals reach, or may reach: what could not be seen is taken for alive.
    Alive,
    /// Processes that the kernel holds (D state), each of which was seen: no signal reaches them.
    Held,
}

/// The table of processes, through a descriptor of /proc.
#[derive(Debug)]
pub(super) struct ProcessTable {
    proc: OwnedFd,
}

impl ProcessTable {
    /// An error says that /proc is not there, or is no procfs.
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
        let table = Self { proc };
        match table.look(own_pid())? {
            Some(_) => Ok(table),
            None => Err(Errno::NOENT.into()),
        }
    }

    /// Meets all processes of programs but this one, each as it is when it is met. In rising order and read bit by bit, so
    /// that one that is born meanwhile is met, too. An error says that some may not have been met.
    pub(super) fn visit(&self, mut meet: impl FnMut(Entry)) -> io::Result<()> {
        let own = own_pid();
        rustix::fs::seek(&self.proc, SeekFrom::Start(0))?;
        let mut buffer = [const { MaybeUninit::<u8>::uninit() }; 2048];
        let mut folder = RawDir::new(self.proc.as_fd(), &mut buffer);
        while let Some(entry) = folder.next() {
            let entry = entry?;
            let name = entry.file_name().to_str();
            let Some(pid) = name.ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if pid != own
                && let Some(entry) = self.look(pid)?
            {
                meet(entry);
            }
        }
        Ok(())
    }

    /// A process of a program as it is now; `None` if there is none, or none that may be seen.
    pub(super) fn look(&self, pid: i32) -> io::Result<Option<Entry>> {
        let mut stat = Vec::with_capacity(1024);
        match self.read(pid, "stat", &mut stat, 1024) {
            Ok(()) => Ok(parse_stat(pid, &stat)),
            Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `entry` still is the process that it was, and lives.
    pub(super) fn is_same(&self, entry: &Entry) -> bool {
        let now = self.look(entry.pid).ok().flatten();
        now.is_some_and(|now| now.started == entry.started && now.state != State::Dead)
    }

    /// `entry` as it is now; as it was, where that cannot be seen. `None`: it has gone.
    pub(super) fn look_again(&self, entry: &Entry) -> Option<Entry> {
        match self.look(entry.pid) {
            Ok(now) => now.filter(|now| now.started == entry.started && now.state != State::Dead),
            Err(_) => Some(*entry),
        }
    }

    /// The tag that a process carries.
    pub(super) fn tag_of(&self, pid: i32) -> Environment {
        let mut environment = Vec::new();
        match self.read(pid, "environ", &mut environment, MAX_ENVIRONMENT_BYTES) {
            // The process executes a program just now, or has no environment.
            Ok(()) if environment.is_empty() => Environment::Unknown,
            Ok(()) => environment
                .split(|&byte| byte == 0)
                .find_map(|variable| {
                    let value = variable.strip_prefix(TAG.as_bytes())?.strip_prefix(b"=")?;
                    String::from_utf8(value.to_vec()).ok()
                })
                .map_or(Environment::Untagged, Environment::Tagged),
            Err(_) => Environment::Unknown,
        }
    }

    fn read(&self, pid: i32, name: &str, into: &mut Vec<u8>, most: usize) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("{pid}/{name}");
        let file = rustix::fs::openat(&self.proc, path, flags, Mode::empty())?;
        while into.len() < most {
            into.reserve(1024);
            if rustix::io::read(&file, rustix::buffer::spare_capacity(into))? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// What a process's environment says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Environment {
    Tagged(String),
    Untagged,
    /// It could not be read, or is not there yet.
    Unknown,
}

/// The owner of each of `entries`, by `owned`, which knows the owners of some: what descends from a process is its owner's
/// too.
pub(super) fn inherit(entries: &HashMap<i32, Entry>, owned: &mut HashMap<i32, usize>) {
    let mut unowned = HashSet::new();
    for &pid in entries.keys() {
        // Up to the first ancestor that is owned, and down again. A table that was read bit by bit may hold a circle, which
        // ends where it began.
        let mut line = Vec::new();
        let mut next = pid;
        let owner = loop {
            if let Some(&owner) = owned.get(&next) {
                break Some(owner);
            }
            match entries.get(&next) {
                Some(entry) if unowned.insert(next) => {
                    line.push(next);
                    next = entry.parent;
                }
                _ => break None,
            }
        };
        if let Some(owner) = owner {
            owned.extend(line.into_iter().map(|pid| (pid, owner)));
        }
    }
}

/// The time, as [`Entry::started`] has it.
pub(super) fn now_in_ticks() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    let a_second = clock_ticks_per_second();
    let ticks = seconds.saturating_mul(a_second);
    ticks.saturating_add(nanos * a_second / 1_000_000_000)
}

pub(super) fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// The children of this process, zombies among them. Exact, where none is reaped meanwhile.
pub(super) fn own_children() -> Vec<i32> {
    children_of("self").unwrap_or_else(|| {
        let own = own_pid();
        let mut children = Vec::new();
        let _ = ProcessTable::open().and_then(|table| {
            table.visit(|entry| {
                if entry.parent == own {
                    children.push(entry.pid);
                }
            })
        });
        children
    })
}

/// All that descends from this process, zombies among them. Exact, where all of it stands still. An error says that some may be
/// missing.
pub(super) fn descendants(table: &ProcessTable) -> io::Result<Vec<Entry>> {
    let Some(children) = children_of("self") else {
        return descendants_by_parents(table);
    };
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut next = children;
    while let Some(pid) = next.pop() {
        // What moves while it is read may be met twice.
        if !seen.insert(pid) {
            continue;
        }
        let Some(entry) = table.look(pid)? else {
            continue;
        };
        found.push(entry);
        // One that has ended meanwhile has left its children to its subreaper.
        next.extend(children_of(&pid.to_string()).unwrap_or_default());
    }
    Ok(found)
}

/// The same by a look at every process.
fn descendants_by_parents(table: &ProcessTable) -> io::Result<Vec<Entry>> {
    let mut entries = HashMap::new();
    table.visit(|entry| {
        entries.insert(entry.pid, entry);
    })?;
    let mut owned = HashMap::from([(own_pid(), 0)]);
    inherit(&entries, &mut owned);
    owned.remove(&own_pid());
    Ok(owned
        .keys()
        .filter_map(|pid| entries.get(pid).copied())
        .collect())
}

/// By the kernel's own list of each thread's children; `None` where it keeps none (CONFIG_PROC_CHILDREN), or the process has
/// ended.
fn children_of(process: &str) -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{process}/task"))
        .ok()?
        .flatten()
    {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => children.extend(list.split_whitespace().flat_map(str::parse::<i32>)),
            // A thread that has ended has left its children to another.
            Err(_) if !thread.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

/// Of `pid (comm) state ppid pgrp session …`, where comm may hold any bytes; `None` for a thread of the kernel.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Entry> {
    let stat = String::from_utf8_lossy(stat);
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let mut number = |skipped: usize| fields.nth(skipped)?.parse::<i64>().ok();
    let (parent, group, session) = (number(0)?, number(0)?, number(0)?);
    let flags = number(2)?;
    let threads = number(10)?;
    let started = number(1)?;
    if flags.cast_unsigned() & KERNEL_THREAD != 0 {
        return None;
    }
    Some(Entry {
        pid,
        parent: parent.try_into().ok()?,
        group: group.try_into().ok()?,
        session: session.try_into().ok()?,
        started: started.try_into().ok()?,
        state: match state {
            // A process whose first thread has ended lives on in the others.
            "Z" | "X" if threads > 1 => State::Alive,
            "Z" | "X" => State::Dead,
            "D" => State::Held,
            _ => State::Alive,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    use super::{super::signal, *};

    const REST: &str = "0 -1 4194304 0 0 0 0 1 2 3 4 20 0 1 0 777 8 9";

    fn parsed(text: &str) -> Option<Entry> {
        parse_stat(7, text.as_bytes())
    }

    #[test]
    fn stat_is_read_behind_the_last_parenthesis() {
        let entry = parsed(&format!("7 (a) (b) c) S 3 5 9 {REST}")).unwrap();
        assert_eq!((entry.parent, entry.group, entry.session), (3, 5, 9));
        assert_eq!((entry.started, entry.state), (777, State::Alive));
        let state = |text: String| parsed(&text).unwrap().state;
        assert_eq!(state(format!("7 (x) Z 3 5 9 {REST}")), State::Dead);
        assert_eq!(state(format!("7 (x) D 3 5 9 {REST}")), State::Held);
        assert_eq!(parsed("7 (x"), None);
        let kernels = REST.replace("4194304", "2129984");
        assert_eq!(parsed(&format!("7 (x) S 2 0 0 {kernels}")), None);
    }

    #[test]
    fn a_process_lives_on_behind_the_end_of_its_first_thread() {
        let threads = REST.replace(" 1 0 777", " 2 0 777");
        let entry = parsed(&format!("7 (x) Z 3 5 9 {threads}")).unwrap();
        assert_eq!(entry.state, State::Alive);
    }

    #[test]
    fn descendants_belong_to_their_ancestors_owner() {
        let entry = |pid, parent| {
            let state = State::Alive;
            let (group, session, started) = (pid, pid, 1);
            let entry = Entry {
                pid,
                parent,
                group,
                session,
                started,
                state,
            };
            (pid, entry)
        };
        let entries = HashMap::from([
            entry(10, 1),
            entry(11, 10),
            entry(12, 11),
            entry(20, 1),
            // Two that were read at different times.
            entry(30, 31),
            entry(31, 30),
        ]);
        let mut owned = HashMap::from([(10, 0), (12, 1)]);
        inherit(&entries, &mut owned);
        assert_eq!(owned, HashMap::from([(10, 0), (11, 0), (12, 1)]));
    }

    #[test]
    fn this_machines_processes_are_met() {
        let table = ProcessTable::open().unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut met = None;
        table
            .visit(|entry| {
                if entry.pid == pid {
                    met = Some(entry);
                }
            })
            .unwrap();
        let met = met.expect("it is there");
        assert_eq!(met.parent, own_pid());
        assert!(table.is_same(&met));
        // It was born within what a busy machine takes to come here.
        let now = now_in_ticks();
        assert!((now.saturating_sub(60 * clock_ticks_per_second())..=now).contains(&met.started));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!table.is_same(&met));
    }

    #[test]
    fn descendants_are_found_in_both_ways() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let grandchild: i32 = line.trim().parse().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let table = ProcessTable::open().unwrap();
        for found in [descendants(&table), descendants_by_parents(&table)] {
            let found: Vec<_> = found.unwrap().iter().map(|entry| entry.pid).collect();
            assert!(
                found.contains(&pid) && found.contains(&grandchild),
                "{found:?}"
            );
        }
        signal::process(grandchild, libc::SIGKILL).unwrap();
        child.wait().unwrap();
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

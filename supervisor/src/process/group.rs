//! One execution's cgroup (v2): the kernel itself keeps the process tree together and kills it whole.
//!
//! What ending it needs is open from the start, so that it can be ended when no descriptor is to be had: three descriptors
//! for as long as its command runs, and one more where its memory is limited.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    process::{Pid, getpgid},
};

use super::{
    signal,
    table::{ProcessTable, State, TreeLook},
};

/// Processes that are signalled at a time, each held by a pidfd before the group is listed once more.
const SIGNALLED_AT_ONCE: usize = 64;

/// A group that nothing was spawned in yet.
#[derive(Debug)]
pub(super) struct Fresh {
    /// For clone3.
    dir: OwnedFd,
    group: Group,
}

/// One execution's cgroup. A command may have written to it, so it is never used again.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    events: OwnedFd,
    kill: OwnedFd,
    procs: OwnedFd,
    /// Where its memory is limited.
    memory_events: Option<OwnedFd>,
    asked: Mutex<Asked>,
}

/// What is asked of the keeper, and its last answer.
#[derive(Debug)]
struct Asked {
    /// To be sent to what is in the group, but not in the leader's process group.
    signals: Vec<i32>,
    leader: i32,
    judge: bool,
    verdict: TreeLook,
}

impl Fresh {
    /// The empty group at `path`.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())?;
        Self::from_dir(dir, path)
    }

    /// The same, which `dir` is open on already.
    pub(super) fn from_dir(dir: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let group = Group::open(&dir, path)?;
        Ok(Self { dir, group })
    }

    /// For clone3.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Whether nobody has frozen it or moved a process into it since it was made.
    pub(super) fn is_untouched(&self) -> bool {
        let events = read_from_start(&self.group.events).unwrap_or_default();
        ["populated 0", "frozen 0"]
            .iter()
            .all(|expected| events.lines().any(|line| line == *expected))
    }

    /// Keeps an eye on what the kernel kills in it for want of memory.
    pub(super) fn watch_memory(&mut self) -> io::Result<()> {
        self.group.memory_events = Some(open_in(&self.dir, "memory.events", OFlags::RDONLY)?);
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.group.path
    }

    /// The same with a command in it.
    pub(super) fn into_group(self) -> Group {
        self.group
    }
}

impl Group {
    fn open(dir: &OwnedFd, path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            events: open_in(dir, "cgroup.events", OFlags::RDONLY)?,
            kill: open_in(dir, "cgroup.kill", OFlags::WRONLY)?,
            procs: open_in(dir, "cgroup.procs", OFlags::RDONLY)?,
            memory_events: None,
            path,
            asked: Mutex::new(Asked {
                signals: Vec::new(),
                leader: 0,
                judge: false,
                verdict: TreeLook::Alive,
            }),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its name within the hierarchy.
    pub(super) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Kills everything in it, and what is being forked there right now, frozen or not.
    pub(super) fn kill(&self) -> io::Result<()> {
        rustix::io::write(&self.kill, b"1")?;
        Ok(())
    }

    /// Whether nothing lives in it; zombies do not live. `false` where that could not be seen.
    pub(super) fn is_empty(&self) -> bool {
        match read_from_start(&self.events) {
            Ok(events) if events.lines().any(|line| line == "populated 0") => true,
            // A process on its way out may still count as populating, but is no longer listed.
            Ok(_) => self.lists_nobody(),
            // It was removed, which takes an empty one.
            Err(error) => error.raw_os_error() == Some(libc::ENODEV),
        }
    }

    fn lists_nobody(&self) -> bool {
        let mut first = [0; 16];
        let listed = rustix::io::pread(&self.procs, &mut first, 0);
        // A folder's link count is 2 and one more for each folder in it.
        listed == Ok(0) && rustix::fs::stat(&self.path).is_ok_and(|stat| stat.st_nlink == 2)
    }

    /// Asks the keeper to send a signal to what is in the group, but not in the process group of `leader`; `false` if the
    /// keeper has something to do about it already.
    pub(super) fn ask_for_signal(&self, leader: i32, number: i32) -> bool {
        let mut asked = self.lock();
        let is_new = !asked.is_pending();
        asked.leader = leader;
        // As the kernel has it: one that is pending already is sent once.
        asked.signals.retain(|&other| other != number);
        asked.signals.push(number);
        is_new
    }

    /// The keeper's last word about whether the kernel holds what lives in it, and asks for another. The first half of the
    /// answer is whether the keeper is to be told.
    pub(super) fn ask_for_verdict(&self) -> (bool, TreeLook) {
        let mut asked = self.lock();
        let is_new = !asked.is_pending();
        asked.judge = true;
        (is_new, asked.verdict)
    }

    /// Does what was asked; on the keeper's thread.
    pub(super) fn answer(&self, table: Option<&ProcessTable>) {
        let (signals, leader, judge) = {
            let mut asked = self.lock();
            let judge = std::mem::take(&mut asked.judge);
            (std::mem::take(&mut asked.signals), asked.leader, judge)
        };
        if !signals.is_empty() {
            self.signal(&signals, leader);
        }
        if judge {
            let verdict = self.judge(table);
            self.lock().verdict = verdict;
        }
    }

    /// Sends `signals` to everything in it but the process group of `leader`. What forks meanwhile may be missed;
    /// [`Self::kill`] misses nothing.
    fn signal(&self, signals: &[i32], leader: i32) {
        let (listed, _) = self.processes();
        let others: Vec<i32> = listed
            .into_iter()
            .filter(|&pid| {
                let group = Pid::from_raw(pid).and_then(|pid| getpgid(Some(pid)).ok());
                group.is_none_or(|group| group.as_raw_nonzero().get() != leader)
            })
            .collect();
        for some in others.chunks(SIGNALLED_AT_ONCE) {
            let held: Vec<_> = some.iter().map(|&pid| (pid, signal::open(pid))).collect();
            // What is in both lists is the process that was meant.
            let still: HashSet<i32> = self.processes().0.into_iter().collect();
            for (pid, pidfd) in held.iter().filter(|(pid, _)| still.contains(pid)) {
                for &number in signals {
                    let sent = match pidfd {
                        Ok(pidfd) => signal::pidfd_send(pidfd, number),
                        Err(error) => Err(io::Error::from(error.kind())),
                    };
                    if sent.is_err_and(|error| !signal::has_ended(&error)) {
                        // No pidfds here, or no descriptor for one: by its number, which was listed a moment ago.
                        let _ = signal::process(*pid, number);
                    }
                }
            }
        }
    }

    /// Whether the kernel holds all that lives in it.
    fn judge(&self, table: Option<&ProcessTable>) -> TreeLook {
        let (Some(table), (listed, true)) = (table, self.processes()) else {
            return TreeLook::Alive;
        };
        let mut is_held = false;
        for pid in listed {
            match table.look(pid).map(|entry| entry.map(|entry| entry.state)) {
                Ok(Some(State::Held)) => is_held = true,
                // It has gone meanwhile.
                Ok(Some(State::Dead)) => {}
                Ok(Some(State::Alive) | None) | Err(_) => return TreeLook::Alive,
            }
        }
        if is_held {
            TreeLook::Held
        } else {
            TreeLook::Alive
        }
    }

    /// The kernel killed a process in it for want of memory.
    pub(super) fn oom_killed(&self) -> bool {
        self.memory_events.as_ref().is_some_and(|events| {
            read_from_start(events).is_ok_and(|events| {
                events
                    .lines()
                    .filter_map(|line| line.strip_prefix("oom_kill "))
                    .any(|count| count != "0")
            })
        })
    }

    /// The processes in it and in the groups that its processes made inside it, and whether these are all.
    fn processes(&self) -> (Vec<i32>, bool) {
        let mut text = Vec::new();
        let listed = match open_in(CWD, self.path.join("cgroup.procs"), OFlags::RDONLY) {
            Ok(procs) => read_list(&procs, &mut text),
            Err(_) => read_list(&self.procs, &mut text),
        };
        let mut pids = parse_list(&text);
        let is_whole = listed.is_ok() && processes_inside(&self.path, &mut pids);
        (pids, is_whole)
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    fn is_pending(&self) -> bool {
        self.judge || !self.signals.is_empty()
    }
}

/// Whether the group at `path` has groups inside it.
pub(super) fn has_groups_inside(path: &Path) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| stat.st_nlink > 2)
}

/// Whether something lives in the group at `path`, or may.
pub(super) fn may_be_populated(path: &Path) -> bool {
    match fs::read_to_string(path.join("cgroup.events")) {
        Ok(events) => !events.lines().any(|line| line == "populated 0"),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Removes the group at `path`, with empty groups inside it; `false` if it is still there, because something lives in it.
pub(super) fn remove(path: &Path) -> bool {
    match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => true,
        Err(_) if has_groups_inside(path) && !may_be_populated(path) => {
            for child in child_folders(path) {
                remove(&child);
            }
            rustix::fs::rmdir(path).is_ok()
        }
        Err(_) => false,
    }
}

fn child_folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

/// Adds the processes of the groups inside the one at `path`; `false` if some could not be read.
fn processes_inside(path: &Path, pids: &mut Vec<i32>) -> bool {
    if !has_groups_inside(path) {
        return true;
    }
    let mut is_whole = fs::read_dir(path).is_ok();
    for child in child_folders(path) {
        match fs::read(child.join("cgroup.procs")) {
            Ok(text) => pids.extend(parse_list(&text)),
            // It has been removed since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => is_whole = false,
        }
        is_whole &= processes_inside(&child, pids);
    }
    is_whole
}

fn parse_list(text: &[u8]) -> Vec<i32> {
    let text = String::from_utf8_lossy(text);
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn read_list(procs: &OwnedFd, text: &mut Vec<u8>) -> Result<(), Errno> {
    loop {
        text.reserve(4096);
        let offset = text.len() as u64;
        if rustix::io::pread(procs, rustix::buffer::spare_capacity(text), offset)? == 0 {
            return Ok(());
        }
    }
}

fn open_in(dir: impl AsFd, name: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(
        dir,
        name.as_ref(),
        flags,
        Mode::empty(),
    )?)
}

/// What one of the kernel's small files says now.
fn read_from_start(file: &OwnedFd) -> io::Result<String> {
    let mut text = Vec::with_capacity(512);
    rustix::io::pread(file, rustix::buffer::spare_capacity(&mut text), 0)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

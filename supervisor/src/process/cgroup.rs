//! A cgroup v2 for each execution: the kernel itself keeps the process tree together and kills it whole.
//!
//! Groups are made below the server's own cgroup, in a folder that carries the instance's name, and are used again when
//! they are empty: a command then costs no mkdir and no rmdir.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::{clone, error::StartError, signal, spec::TreeLimits, table::TreeLook};

/// Empty groups that are kept for the next command.
const MAX_IDLE_GROUPS: usize = 64;

/// How long the leftovers of a crash are waited for after their kill.
const LEFTOVER_BOUND: Duration = Duration::from_secs(5);

/// How often they are looked at meanwhile.
const LEFTOVER_POLL: Duration = Duration::from_millis(2);

/// The instance's part of the cgroup v2 tree.
#[derive(Debug)]
pub(super) struct Hierarchy {
    base: PathBuf,
    /// Why the memory and pids controllers cannot be used, if they cannot.
    controllers: Result<(), String>,
    idle: Mutex<Vec<Group>>,
    next: AtomicU64,
}

/// One execution's cgroup.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
    dir: OwnedFd,
    /// Its `cgroup.events`.
    events: OwnedFd,
    limited: bool,
    /// Kernels compare the number of a group's kills with that of the spawner's own group when they clone into it, so one
    /// that was killed once would kill what is born in it.
    killed: AtomicBool,
}

impl Hierarchy {
    /// Where this machine's cgroup v2 tree has room for `instance`; `Err` says why it has none.
    pub(super) fn open(instance: &str) -> Result<Self, String> {
        let own = own_cgroup()?;
        let base = own.join(format!("remex-{instance}"));
        let denied = |what: &Path, error: &dyn std::fmt::Display| {
            format!("{} cannot be used: {error}", what.display())
        };
        match fs::create_dir(&base) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(denied(&base, &error)),
        }
        if !base.join("cgroup.kill").exists() {
            return Err("the kernel has no cgroup.kill (Linux 5.14)".into());
        }
        let hierarchy = Self {
            controllers: enable_controllers(&own, &base),
            base,
            idle: Mutex::default(),
            next: AtomicU64::new(0),
        };
        // What can be made, and lets a child live, will do.
        let probe = hierarchy
            .make()
            .map_err(|error| denied(&hierarchy.base, &error))?;
        let born = clone::probe(probe.fd());
        hierarchy.release(probe);
        match born {
            Ok(true) => Ok(hierarchy),
            Ok(false) => Err("the kernel kills what is born in a cgroup below this one".into()),
            Err(error) => Err(denied(&hierarchy.base, &error)),
        }
    }

    /// The folder that all groups are in.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// An empty group with `limits` on it.
    pub(super) fn take(&self, limits: TreeLimits) -> Result<Group, StartError> {
        let make = || self.make().map_err(StartError::resources("make a cgroup"));
        if limits == TreeLimits::default() {
            return match self.lock_idle().pop() {
                Some(group) => Ok(group),
                None => make(),
            };
        }
        if let Err(why) = &self.controllers {
            return Err(unavailable(limits, why.clone()));
        }
        let mut group = make()?;
        group.limited = true;
        apply(&group.path, limits).map_err(|(file, error)| {
            group.remove();
            unavailable(limits, format!("{file}: {error}"))
        })?;
        Ok(group)
    }

    /// Takes back a group in which nothing lives.
    pub(super) fn release(&self, group: Group) {
        let mut idle = self.lock_idle();
        let reusable = !group.limited && !group.killed.load(Ordering::Relaxed);
        if reusable && idle.len() < MAX_IDLE_GROUPS && !group.has_children() {
            idle.push(group);
        } else {
            drop(idle);
            group.remove();
        }
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Group>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> io::Result<Group> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.base.join(number.to_string());
            match fs::create_dir(&path) {
                Ok(()) => return Group::open(path),
                // One that outlived the server before this one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Hierarchy {
    /// Leaves nothing behind, but for groups in which something still lives.
    fn drop(&mut self) {
        for group in self.lock_idle().drain(..) {
            group.remove();
        }
        let _ = fs::remove_dir(&self.base);
    }
}

impl Group {
    fn open(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(&path, flags, Mode::empty())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let events = rustix::fs::openat(&dir, "cgroup.events", flags, Mode::empty())?;
        Ok(Self {
            path,
            dir,
            events,
            limited: false,
            killed: AtomicBool::new(false),
        })
    }

    /// For clone3.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Its name within the hierarchy.
    pub(super) fn name(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Kills everything in it, and what is being forked there right now.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.killed.store(true, Ordering::Relaxed);
        let file = rustix::fs::openat(
            &self.dir,
            "cgroup.kill",
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::io::write(file, b"1")?;
        Ok(())
    }

    /// Whether nothing lives in it. Zombies do not live.
    pub(super) fn is_empty(&self) -> bool {
        read_from_start(&self.events)
            .is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
            // A process on its way out may still count as populating, but is no longer listed.
            || self.processes().is_empty()
    }

    /// What lives in it.
    pub(super) fn look(&self) -> TreeLook {
        if self.is_empty() {
            return TreeLook::Gone;
        }
        TreeLook::of(&self.processes())
    }

    /// Sends `signal` to everything in it. What forks meanwhile may be missed; [`Self::kill`] misses nothing.
    pub(super) fn signal(&self, signal: i32) {
        signal::processes(signal, || self.processes());
    }

    /// The kernel killed a process in it for want of memory.
    pub(super) fn oom_killed(&self) -> bool {
        self.limited
            && self.read("memory.events").is_ok_and(|events| {
                events
                    .lines()
                    .filter_map(|line| line.strip_prefix("oom_kill "))
                    .any(|count| count != "0")
            })
    }

    /// Removes it, with empty groups that its processes made inside it. One that is not empty stays.
    pub(super) fn remove(&self) {
        remove_tree(&self.path);
    }

    fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        processes_below(&self.path, &mut pids);
        pids
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        read_from_start(&rustix::fs::openat(&self.dir, name, flags, Mode::empty())?)
    }

    fn has_children(&self) -> bool {
        // A folder's link count is 2 and one more for each folder in it.
        rustix::fs::fstat(&self.dir).is_ok_and(|stat| stat.st_nlink > 2)
    }
}

/// What one of the kernel's small files says now.
fn read_from_start(file: &OwnedFd) -> io::Result<String> {
    let mut text = Vec::with_capacity(512);
    rustix::io::pread(file, rustix::buffer::spare_capacity(&mut text), 0)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Groups under `base` that an instance before this one has left, but for `keep`: their processes are killed, and waited
/// for under a bound. Returns how many groups had something alive in them.
pub(super) fn kill_leftovers(base: &Path, keep: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut alive = Vec::new();
    for entry in match fs::read_dir(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    } {
        let entry = entry?;
        if !entry.file_type()?.is_dir() || keep(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let group = Group::open(entry.path())?;
        if group.is_empty() {
            group.remove();
        } else {
            group.kill()?;
            alive.push(group);
        }
    }
    let killed = alive.len();
    let deadline = Instant::now() + LEFTOVER_BOUND;
    while !alive.is_empty() && Instant::now() < deadline {
        alive.retain(|group| {
            let empty = group.is_empty();
            if empty {
                group.remove();
            }
            !empty
        });
        std::thread::sleep(LEFTOVER_POLL);
    }
    // The next instance may take another way. Refused where a group was kept.
    let _ = rustix::fs::rmdir(base);
    Ok(killed)
}

/// The group `name` under `base`, if it is still there.
pub(super) fn find(base: &Path, name: &str) -> Option<Group> {
    Group::open(base.join(name)).ok()
}

/// Writes `limits` into the files of the group at `path`. `Err` names the file.
fn apply(path: &Path, limits: TreeLimits) -> Result<(), (&'static str, io::Error)> {
    let write = |file: &'static str, value: u64| {
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path.join(file))
            .and_then(|mut opened| io::Write::write_all(&mut opened, value.to_string().as_bytes()))
            .map_err(|error| (file, error))
    };
    if let Some(bytes) = limits.memory_bytes {
        write("memory.max", bytes)?;
        // Swap would make the limit a matter of taste. Where there is none, there is no such file.
        if path.join("memory.swap.max").exists() {
            write("memory.swap.max", 0)?;
        }
    }
    if let Some(processes) = limits.processes {
        write("pids.max", processes)?;
    }
    Ok(())
}

/// The error for `limits` that cannot be applied.
pub(super) fn unavailable(limits: TreeLimits, why: String) -> StartError {
    let limit = if limits.memory_bytes.is_some() {
        "tree_memory_bytes"
    } else {
        "tree_processes"
    };
    StartError::LimitUnavailable { limit, why }
}

/// Makes the memory and pids controllers available to groups in `base`, which is in `own`, the server's own cgroup.
fn enable_controllers(own: &Path, base: &Path) -> Result<(), String> {
    const ENABLE: &str = "+memory +pids";
    let available = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
    let available: Vec<_> = available.split_whitespace().collect();
    for needed in ["memory", "pids"] {
        if !available.contains(&needed) {
            return Err(format!("cgroup v2 has no {needed} controller here"));
        }
    }
    let control = |group: &Path| fs::write(group.join("cgroup.subtree_control"), ENABLE);
    let enabled = control(own).or_else(|error| {
        // A group with processes may not have controllers below it; one that is ours alone can be left for a leaf.
        let alone = fs::read_to_string(own.join("cgroup.procs"))
            .is_ok_and(|pids| pids.trim() == std::process::id().to_string());
        if !alone {
            return Err(error);
        }
        let leaf = own.join("remexd");
        fs::create_dir_all(&leaf)?;
        fs::write(leaf.join("cgroup.procs"), "0")?;
        control(own)
    });
    enabled.and_then(|()| control(base)).map_err(|error| {
        format!(
            "cgroup v2's controllers cannot be enabled in {}: {error}",
            own.display()
        )
    })
}

/// The server's own folder in the cgroup v2 tree.
fn own_cgroup() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let mount = read("/proc/self/mountinfo")?
        .lines()
        .find_map(cgroup2_mount)
        .ok_or("cgroup v2 is not mounted")?;
    let own = read("/proc/self/cgroup")?
        .lines()
        .find_map(|line| line.strip_prefix("0::/").map(PathBuf::from))
        .ok_or("the kernel names no cgroup v2 of this process")?;
    if own.starts_with("..") {
        return Err("this process is outside the mounted cgroup v2 tree".into());
    }
    Ok(mount.join(own))
}

/// The mount point, if `line` of mountinfo is a cgroup v2 mount of a whole (namespace's) tree.
fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    (filesystem.starts_with("cgroup2 ") && root == "/").then(|| point.into())
}

fn processes_below(path: &Path, pids: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(path.join("cgroup.procs")) {
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    for child in child_folders(path) {
        processes_below(&child, pids);
    }
}

fn remove_tree(path: &Path) {
    match rustix::fs::rmdir(path) {
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        _ => return,
    }
    for child in child_folders(path) {
        remove_tree(&child);
    }
    let _ = rustix::fs::rmdir(path);
}

fn child_folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(v2), Some("/sys/fs/cgroup/unified".into()));
        let v1 = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids";
        assert_eq!(cgroup2_mount(v1), None);
        let part = "41 31 0:38 /a /mnt rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(part), None);
    }

    #[test]
    fn tree_limits_are_written_into_their_files() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["memory.max", "memory.swap.max", "pids.max"] {
            fs::write(dir.path().join(file), "max\n").unwrap();
        }
        let limits = TreeLimits {
            memory_bytes: Some(64 << 20),
            processes: Some(12),
        };
        apply(dir.path(), limits).unwrap();
        let read = |file| fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "12");
    }

    #[test]
    fn a_limit_without_its_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let limits = TreeLimits {
            processes: Some(12),
            ..TreeLimits::default()
        };
        assert_eq!(apply(dir.path(), limits).unwrap_err().0, "pids.max");
    }
}

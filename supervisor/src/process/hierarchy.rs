//! Where in the machine's cgroup v2 tree this server's groups are, and how they are made: in a folder below the server's own
//! cgroup that carries the instance's name, some ahead of need.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};

use super::{
    clone,
    error::StartError,
    group::{self, Fresh},
    spec::TreeLimits,
    table::{self, ProcessTable},
};

/// Groups that are made ahead of need.
const MAX_READY: usize = 32;

/// One is made ahead of need for so many descriptors that this process may have; each holds four.
const DESCRIPTORS_PER_READY: u64 = 64;

/// How long the leftovers of a crash are waited for after their kill.
const LEFTOVER_BOUND: Duration = Duration::from_secs(4);

/// How often they are looked at meanwhile.
const LEFTOVER_POLL: Duration = Duration::from_millis(2);

/// The instance's part of the cgroup v2 tree.
#[derive(Debug)]
pub(super) struct Hierarchy {
    base: PathBuf,
    /// The folder of the groups of durable executions.
    durable_base: PathBuf,
    controllers: Controllers,
    ready: Mutex<Vec<Fresh>>,
    /// How many are to be ready.
    target: usize,
    next: AtomicU64,
}

/// Why each controller cannot be used, if it cannot.
#[derive(Debug)]
struct Controllers {
    memory: Result<(), String>,
    pids: Result<(), String>,
}

impl Hierarchy {
    /// Where this machine's cgroup v2 tree has room for `instance`; `Err` says why it has none.
    pub(super) fn open(instance: &str) -> Result<Self, String> {
        let own = own_cgroup()?;
        let base = own.join(folder(instance));
        let denied = |what: &Path, error: &dyn std::fmt::Display| {
            format!("{} cannot be used: {error}", what.display())
        };
        let durable_base = own.join(format!("{}-durable", folder(instance)));
        for base in [&base, &durable_base] {
            match fs::create_dir(base) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(denied(base, &error)),
            }
        }
        if !base.join("cgroup.kill").exists() {
            return Err("the kernel has no cgroup.kill (Linux 5.14)".into());
        }
        let open_files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let ready = usize::try_from(open_files / DESCRIPTORS_PER_READY).unwrap_or(MAX_READY);
        let hierarchy = Self {
            controllers: Controllers::enable(&own, &[&base, &durable_base]),
            base,
            durable_base,
            ready: Mutex::default(),
            target: ready.clamp(1, MAX_READY),
            next: AtomicU64::new(0),
        };
        // What can be made, and lets a child live, will do.
        let probe = hierarchy
            .make()
            .map_err(|error| denied(&hierarchy.base, &error))?;
        let born = clone::probe(probe.fd());
        group::remove(probe.path());
        match born {
            Ok(true) => {
                hierarchy.refill();
                Ok(hierarchy)
            }
            Ok(false) => Err("the kernel kills what is born in a cgroup below this one".into()),
            Err(error) => Err(denied(&hierarchy.base, &error)),
        }
    }

    /// The folder that all groups are in.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// The folder that the groups of durable executions are in.
    pub(super) fn durable_base(&self) -> &Path {
        &self.durable_base
    }

    /// Limits the group at `path`.
    pub(super) fn limit(&self, path: &Path, limits: TreeLimits) -> Result<(), StartError> {
        self.controllers.check(limits)?;
        write_limits(path, limits)
            .map_err(|(limit, why)| StartError::LimitUnavailable { limit, why })
    }

    /// An empty group with `limits` on it. One that was made ahead and that somebody has touched since is `discard`ed.
    pub(super) fn take(
        &self,
        limits: TreeLimits,
        discard: impl Fn(Fresh),
    ) -> Result<Fresh, StartError> {
        let make = || self.make().map_err(StartError::resources("make a cgroup"));
        self.controllers.check(limits)?;
        let ready = || self.lock().pop();
        let mut fresh = loop {
            match ready() {
                Some(fresh) if fresh.is_untouched() => break fresh,
                Some(touched) => discard(touched),
                None => break make()?,
            }
        };
        if limits != TreeLimits::default()
            && let Err((limit, why)) = apply(&mut fresh, limits)
        {
            discard(fresh);
            return Err(StartError::LimitUnavailable { limit, why });
        }
        Ok(fresh)
    }

    /// Whether it is time to make more ahead of need.
    pub(super) fn is_low(&self) -> bool {
        self.lock().len() <= self.target / 2
    }

    /// Makes groups ahead of need.
    pub(super) fn refill(&self) {
        while self.lock().len() < self.target {
            match self.make() {
                Ok(fresh) => self.lock().push(fresh),
                // Who needs one makes it, and is told.
                Err(error) => return tracing::debug!(%error, "cannot make a cgroup ahead of need"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fresh>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> io::Result<Fresh> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.base.join(number.to_string());
            match fs::create_dir(&path) {
                Ok(()) => {
                    return Fresh::open(path.clone()).inspect_err(|_| {
                        group::remove(&path);
                    });
                }
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
        for fresh in self.lock().drain(..) {
            group::remove(fresh.path());
        }
        for base in [&self.base, &self.durable_base] {
            let _ = fs::remove_dir(base);
        }
    }
}

/// The name of the folder that an instance's groups are in.
fn folder(instance: &str) -> String {
    format!("remex-{instance}")
}

/// Whether `path` is where `instance` would have its groups.
pub(super) fn is_base(path: &Path, instance: &str) -> bool {
    path.is_absolute()
        && path
            .file_name()
            .is_some_and(|name| *name == *folder(instance))
}

/// Where `instance` would have its groups if it began now.
pub(super) fn likely_base(instance: &str) -> Option<PathBuf> {
    own_cgroup().ok().map(|own| own.join(folder(instance)))
}

/// Kills what is in groups under `base` that an instance before this one has left, but for those that `keep` names, and
/// waits for it within a bound. Returns how many groups had something alive in them, and whether all of it is gone.
pub(super) fn kill_leftovers(base: &Path, keep: impl Fn(&str) -> bool) -> (usize, bool) {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let left = entries.filter(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_folder && !keep(&entry.file_name().to_string_lossy())
    });
    let mut alive: Vec<PathBuf> = left
        .map(|entry| entry.path())
        .filter(|path| !group::remove(path))
        .collect();
    let killed = alive.len();
    let deadline = Instant::now() + LEFTOVER_BOUND;
    while !alive.is_empty() && Instant::now() < deadline {
        // Again and again: what was being cloned into it may have come since.
        for path in &alive {
            if let Err(error) = fs::write(path.join("cgroup.kill"), "1") {
                tracing::debug!(%error, "cannot kill {}", path.display());
            }
        }
        std::thread::sleep(LEFTOVER_POLL);
        alive.retain(|path| !group::remove(path));
    }
    // The next instance may take another way. Refused where a group was kept.
    let _ = rustix::fs::rmdir(base);
    (killed, alive.is_empty())
}

/// Writes `limits` into the files of a group. `Err` names the limit, and says why it cannot be had.
fn apply(fresh: &mut Fresh, limits: TreeLimits) -> Result<(), (&'static str, String)> {
    write_limits(fresh.path(), limits)?;
    if limits.memory_bytes.is_some() {
        let watched = fresh.watch_memory();
        watched.map_err(|error| (MEMORY_LIMIT, format!("memory.events: {error}")))?;
    }
    Ok(())
}

/// The limits' names in the API.
const MEMORY_LIMIT: &str = "tree_memory_bytes";
const PROCESSES_LIMIT: &str = "tree_processes";

fn write_limits(path: &Path, limits: TreeLimits) -> Result<(), (&'static str, String)> {
    let write = |limit: &'static str, file: &'static str, value: u64| {
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path.join(file))
            .and_then(|mut opened| io::Write::write_all(&mut opened, value.to_string().as_bytes()))
            .map_err(|error| (limit, format!("{file}: {error}")))
    };
    if let Some(bytes) = limits.memory_bytes {
        write(MEMORY_LIMIT, "memory.max", bytes)?;
        // Swap would make the limit a matter of taste. Where there is none, there is no such file.
        if path.join("memory.swap.max").exists() {
            write(MEMORY_LIMIT, "memory.swap.max", 0)?;
        }
    }
    if let Some(processes) = limits.processes {
        write(PROCESSES_LIMIT, "pids.max", processes)?;
    }
    Ok(())
}

/// The error for `limits` where there are no cgroups.
pub(super) fn unavailable(limits: TreeLimits, why: String) -> StartError {
    let limit = match limits.memory_bytes {
        Some(_) => MEMORY_LIMIT,
        None => PROCESSES_LIMIT,
    };
    StartError::LimitUnavailable { limit, why }
}

impl Controllers {
    /// Makes the controllers available to groups in `bases`, which are in `own`, the server's own cgroup.
    fn enable(own: &Path, bases: &[&Path]) -> Self {
        let available = fs::read_to_string(own.join("cgroup.controllers")).unwrap_or_default();
        let enable = |controller: &str| {
            if !available.split_whitespace().any(|name| name == controller) {
                return Err(format!("cgroup v2 has no {controller} controller here"));
            }
            let control = |group: &Path| {
                let file = group.join("cgroup.subtree_control");
                fs::write(file, format!("+{controller}"))
            };
            control(own)
                .or_else(|error| {
                    move_to_leaf(own)
                        .map_err(|_| error)
                        .and_then(|()| control(own))
                })
                .and_then(|()| bases.iter().try_for_each(|base| control(base)))
                .map_err(|error| {
                    format!(
                        "cgroup v2's {controller} controller cannot be enabled in {}: {error}",
                        own.display()
                    )
                })
        };
        Self {
            memory: enable("memory"),
            pids: enable("pids"),
        }
    }

    /// Whether `limits` can be had: each needs its own controller, and no other.
    fn check(&self, limits: TreeLimits) -> Result<(), StartError> {
        for (limit, is_wanted, controller) in [
            (MEMORY_LIMIT, limits.memory_bytes.is_some(), &self.memory),
            (PROCESSES_LIMIT, limits.processes.is_some(), &self.pids),
        ] {
            if is_wanted && let Err(why) = controller {
                let why = why.clone();
                return Err(StartError::LimitUnavailable { limit, why });
            }
        }
        Ok(())
    }
}

/// Moves this process and its children to a leaf of `own`, since a group with processes may not have controllers below it.
/// An error where others are in it, too.
fn move_to_leaf(own: &Path) -> io::Result<()> {
    let table = ProcessTable::open()?;
    let text = fs::read_to_string(own.join("cgroup.procs"))?;
    let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let this = table::own_pid();
    let is_ours = |pid: i32| {
        let parent = || table.look(pid).ok().flatten().map(|entry| entry.parent);
        pid == this || parent() == Some(this)
    };
    if !pids.contains(&this) || !pids.iter().all(|&pid| is_ours(pid)) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    let leaf = own.join("remexd");
    fs::create_dir_all(&leaf)?;
    for pid in pids {
        fs::write(leaf.join("cgroup.procs"), pid.to_string())?;
    }
    Ok(())
}

/// The server's own folder in the cgroup v2 tree.
fn own_cgroup() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let mounts = read("/proc/self/mountinfo")?;
    let mut mounts = mounts.lines().filter_map(cgroup2_mount).peekable();
    if mounts.peek().is_none() {
        return Err("cgroup v2 is not mounted".into());
    }
    let own = read("/proc/self/cgroup")?
        .lines()
        .find_map(|line| line.strip_prefix("0::").map(PathBuf::from))
        .ok_or("the kernel names no cgroup v2 of this process")?;
    mounts
        .find_map(|(root, point)| Some(point.join(own.strip_prefix(root).ok()?)))
        .filter(|path| path.join("cgroup.procs").exists())
        .ok_or_else(|| "this process is outside the mounted cgroup v2 tree".into())
}

/// Root and mount point, if `line` of mountinfo is a cgroup v2 mount.
fn cgroup2_mount(line: &str) -> Option<(PathBuf, PathBuf)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    filesystem
        .starts_with("cgroup2 ")
        .then(|| (root.into(), point.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_apart() {
        let v2 = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
        let found = Some(("/".into(), "/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2_mount(v2), found);
        let v1 = "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids";
        assert_eq!(cgroup2_mount(v1), None);
        let part = "41 31 0:38 /a /mnt rw,relatime shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup2_mount(part), Some(("/a".into(), "/mnt".into())));
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
        write_limits(dir.path(), limits).unwrap();
        let read = |file| fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(read("memory.max"), "67108864");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("pids.max"), "12");
    }

    #[test]
    fn a_limit_without_its_file_is_an_error_that_names_both() {
        let dir = tempfile::tempdir().unwrap();
        let limits = TreeLimits {
            processes: Some(12),
            ..TreeLimits::default()
        };
        let (limit, why) = write_limits(dir.path(), limits).unwrap_err();
        assert_eq!(limit, "tree_processes");
        assert!(why.starts_with("pids.max: "), "{why}");
    }

    #[test]
    fn pitfall_70_a_limit_needs_its_own_controller_alone() {
        let limits = |memory_bytes, processes| TreeLimits {
            memory_bytes,
            processes,
        };
        let none = |name: &str| Err(format!("no {name}"));
        let pids_alone = Controllers {
            memory: none("memory"),
            pids: Ok(()),
        };
        assert!(pids_alone.check(limits(None, Some(4))).is_ok());
        assert!(pids_alone.check(limits(None, None)).is_ok());
        let refused = pids_alone.check(limits(Some(1), Some(4))).unwrap_err();
        assert!(
            refused.to_string().contains("tree_memory_bytes"),
            "{refused}"
        );
        let memory_alone = Controllers {
            memory: Ok(()),
            pids: none("pids"),
        };
        assert!(memory_alone.check(limits(Some(1), None)).is_ok());
        let refused = memory_alone.check(limits(Some(1), Some(4))).unwrap_err();
        assert!(refused.to_string().contains("tree_processes"), "{refused}");
    }
}

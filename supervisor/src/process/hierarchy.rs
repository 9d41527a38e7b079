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
    durable_groups::DurableGroups,
    error::StartError,
    group::{self, Fresh},
    own_cgroup::OwnCgroup,
    spec::TreeLimits,
    tree_limits::{Controllers, MEMORY_LIMIT, write_limits},
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
    durable: DurableGroups,
    controllers: Controllers,
    ready: Mutex<Vec<Fresh>>,
    /// How many are to be ready.
    target: usize,
    next: AtomicU64,
}

impl Hierarchy {
    /// Where this machine's cgroup v2 tree has room for `instance`; `Err` says why it has none.
    pub(super) fn open(instance: &str) -> Result<Self, String> {
        let own = OwnCgroup::of_server(instance)?;
        let base = own.path().join(folder(instance));
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
        let open_files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let ready = usize::try_from(open_files / DESCRIPTORS_PER_READY).unwrap_or(MAX_READY);
        let hierarchy = Self {
            durable: DurableGroups::open(&own, instance)?,
            controllers: Controllers::enable_within(&own, &base, instance),
            base,
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

    /// The groups of durable executions.
    pub(super) fn durable(&self) -> &DurableGroups {
        &self.durable
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
        let _ = fs::remove_dir(&self.base);
    }
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

/// The name of the folder that an instance's groups are in.
pub(super) fn folder(instance: &str) -> String {
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
    let own = OwnCgroup::of_server(instance).ok()?;
    Some(own.path().join(folder(instance)))
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

//! How process trees are kept together on this machine, and what became of those of the instance before this one.
//!
//! The choice and the trees that are meant to live on are written into the state folder, so that the next start knows
//! what to kill and what to leave alone.

use std::{
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    cgroup::{self, Group, Hierarchy},
    error::StartError,
    leader::Leader,
    spec::TreeLimits,
    sweep::{self, Leaders, Sweep},
};

/// Which way to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// A cgroup where there can be one, else the sweep.
    #[default]
    Auto,
    /// The sweep, even where there could be cgroups.
    Sweep,
}

/// The way that was taken.
#[derive(Debug)]
pub(super) struct Containment {
    way: Way,
    instance: String,
    lingering: PathBuf,
    survivors: Mutex<Vec<Tree>>,
}

#[derive(Debug)]
enum Way {
    Cgroup(Hierarchy),
    Sweep { leaders: Leaders, why: String },
}

/// A place for a tree that is about to be spawned.
#[derive(Debug)]
pub(super) enum Place {
    Cgroup(Group),
    /// The tag.
    Sweep(String),
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
        if alive.iter().all(|&pid| sweep::is_held(pid)) {
            Self::Held
        } else {
            Self::Alive
        }
    }
}

/// One execution's process tree.
#[derive(Debug)]
pub(super) enum Tree {
    Cgroup(Group),
    Sweep(Sweep),
}

/// How long a leader that was killed, or could not execute, is waited for.
const BURIAL_BOUND: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The file in the state folder that says which way the instance took.
const WAY_FILE: &str = "containment";
/// The folder in the state folder with a file for each tree that lives on after its execution.
const LINGERING_DIR: &str = "lingering";

impl Containment {
    /// Kills what a crash has left, then makes the way of this instance. Returns how many trees or processes it killed.
    pub(super) fn open(
        instance: &str,
        state_dir: &Path,
        choice: Choice,
    ) -> io::Result<(Self, usize)> {
        let lingering = state_dir.join(LINGERING_DIR);
        fs::create_dir_all(&lingering)?;
        let killed = kill_leftovers(instance, state_dir, &lingering)?;
        let way = match choice {
            Choice::Auto => Hierarchy::open(instance)
                .map_or_else(Way::sweep, |hierarchy| Ok(Way::Cgroup(hierarchy))),
            Choice::Sweep => Way::sweep("it was asked for".into()),
        }?;
        let record = match &way {
            Way::Cgroup(hierarchy) => hierarchy.base().to_string_lossy().into_owned(),
            Way::Sweep { .. } => String::new(),
        };
        fs::write(state_dir.join(WAY_FILE), record)?;
        let containment = Self {
            way,
            instance: instance.to_owned(),
            lingering,
            survivors: Mutex::default(),
        };
        containment.adopt_lingering()?;
        Ok((containment, killed))
    }

    /// For the start-up line.
    pub(super) fn describe(&self) -> String {
        match &self.way {
            Way::Cgroup(hierarchy) => format!("cgroup v2 ({})", hierarchy.base().display()),
            Way::Sweep { why, .. } => format!(
                "process sweep, since {why}; a command that clears its environment and double-forks may escape a kill"
            ),
        }
    }

    /// A place for the tree of the execution `id`.
    pub(super) fn place(&self, id: &str, limits: TreeLimits) -> Result<Place, StartError> {
        match &self.way {
            Way::Cgroup(hierarchy) => hierarchy.take(limits).map(Place::Cgroup),
            Way::Sweep { why, .. } if limits != TreeLimits::default() => {
                Err(cgroup::unavailable(limits, why.clone()))
            }
            Way::Sweep { .. } => Ok(Place::Sweep(format!("{}.{id}", self.instance))),
        }
    }

    /// Spawns with `spawn`, in a way that nobody takes the new leader for an orphan.
    pub(super) fn guard(&self, spawn: impl FnOnce() -> io::Result<Leader>) -> io::Result<Leader> {
        match &self.way {
            Way::Cgroup(_) => spawn(),
            Way::Sweep { leaders, .. } => {
                let mut leaders = leaders.lock();
                let leader = spawn()?;
                leaders.insert(leader.pid());
                Ok(leader)
            }
        }
    }

    /// Reaps a leader that is on its way out, because it could not execute or was killed.
    pub(super) fn bury(&self, leader: &Leader) {
        let mut fds = [PollFd::new(leader.pidfd(), PollFlags::IN)];
        // One that the kernel holds is not waited for.
        let _ = poll(&mut fds, Some(&BURIAL_BOUND));
        self.reap(leader);
    }

    fn reap(&self, leader: &Leader) {
        leader.reap();
        if let Way::Sweep { leaders, .. } = &self.way {
            leaders.lock().remove(&leader.pid());
        }
    }

    /// Takes back a place in which nothing was spawned.
    pub(super) fn abandon(&self, place: Place) {
        if let (Way::Cgroup(hierarchy), Place::Cgroup(group)) = (&self.way, place) {
            hierarchy.release(group);
        }
    }

    /// Reaps the leader and takes back its tree. What still lives in it is left alone, and remembered as such.
    pub(super) fn leave(&self, leader: &Leader, tree: Tree) {
        self.reap(leader);
        if tree.looks_empty() {
            self.release(tree);
            return;
        }
        if let Err(error) = fs::write(self.lingering.join(tree.name()), "") {
            tracing::warn!(%error, "cannot remember that a process tree is to live on");
        }
        self.lock_survivors().push(tree);
    }

    /// Looks after trees that lived on: an empty one goes. Reaps orphans, where they fall to this process.
    pub(super) fn sweep(&self) {
        let mut survivors = self.lock_survivors();
        let (gone, alive) = survivors.drain(..).partition(Tree::looks_empty);
        *survivors = alive;
        drop(survivors);
        for tree in gone {
            let _ = fs::remove_file(self.lingering.join(tree.name()));
            self.release(tree);
        }
        if let Way::Sweep { leaders, .. } = &self.way {
            leaders.reap_orphans();
        } else if std::process::id() == 1 {
            Leaders::default().reap_orphans();
        }
    }

    fn release(&self, tree: Tree) {
        if let (Way::Cgroup(hierarchy), Tree::Cgroup(group)) = (&self.way, tree) {
            hierarchy.release(group);
        }
    }

    /// Takes over the trees that the instance before this one let live on.
    fn adopt_lingering(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.lingering)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let tree = match &self.way {
                Way::Cgroup(hierarchy) => cgroup::find(hierarchy.base(), &name).map(Tree::Cgroup),
                // No pid is known any more; 0 is nobody's session.
                Way::Sweep { .. } => Some(Tree::Sweep(Sweep::new(
                    0,
                    format!("{}.{name}", self.instance),
                ))),
            };
            match tree {
                Some(tree) => self.lock_survivors().push(tree),
                None => fs::remove_file(self.lingering.join(name))?,
            }
        }
        Ok(())
    }

    fn lock_survivors(&self) -> std::sync::MutexGuard<'_, Vec<Tree>> {
        self.survivors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Containment {
    /// What lived on and has ended since leaves nothing behind.
    fn drop(&mut self) {
        self.sweep();
    }
}

impl Place {
    /// For clone3.
    pub(super) fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Cgroup(group) => Some(group.fd()),
            Self::Sweep(_) => None,
        }
    }

    /// The tree of `leader`, which was spawned here.
    pub(super) fn into_tree(self, leader: &Leader) -> Tree {
        match self {
            Self::Cgroup(group) => Tree::Cgroup(group),
            Self::Sweep(tag) => Tree::Sweep(Sweep::new(leader.pid(), tag)),
        }
    }
}

impl Way {
    fn sweep(why: String) -> io::Result<Self> {
        Ok(Self::Sweep {
            leaders: Leaders::open()?,
            why,
        })
    }
}

impl Tree {
    /// Kills all of it; to be repeated until [`Self::look`] finds it gone.
    pub(super) fn kill(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(group) => group.kill(),
            Self::Sweep(sweep) => {
                sweep.kill();
                Ok(())
            }
        }
    }

    pub(super) fn signal(&self, number: i32) {
        match self {
            Self::Cgroup(group) => group.signal(number),
            Self::Sweep(sweep) => sweep.signal(number),
        }
    }

    pub(super) fn look(&self) -> TreeLook {
        match self {
            Self::Cgroup(group) => group.look(),
            Self::Sweep(sweep) => sweep.look(),
        }
    }

    /// Whether nothing is alive in it at one look, which is enough where it was not killed.
    fn looks_empty(&self) -> bool {
        match self {
            Self::Cgroup(group) => group.is_empty(),
            Self::Sweep(sweep) => sweep.looks_empty(),
        }
    }

    /// Its name in the state folder.
    fn name(&self) -> String {
        match self {
            Self::Cgroup(group) => group.name(),
            Self::Sweep(sweep) => sweep.execution().to_owned(),
        }
    }

    pub(super) fn oom_killed(&self) -> bool {
        match self {
            Self::Cgroup(group) => group.oom_killed(),
            Self::Sweep(_) => false,
        }
    }
}

/// Kills what the instance before this one has left, whichever way it took.
fn kill_leftovers(instance: &str, state_dir: &Path, lingering: &Path) -> io::Result<usize> {
    let record = match fs::read_to_string(state_dir.join(WAY_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        record => record?,
    };
    let keep = |name: &str| lingering.join(name).exists();
    if record.is_empty() {
        return Ok(sweep::kill_leftovers(instance, keep));
    }
    cgroup::kill_leftovers(Path::new(&record), keep)
}

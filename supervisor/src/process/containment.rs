//! How process trees are kept together on this machine, and what became of those of the instance before this one.
//!
//! The choice and the trees that are meant to live on are written into the state folder, so that the next start knows
//! what to kill and what to leave alone.

use std::{
    cell::LazyCell,
    fs, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    cgroup::{self, Group, Hierarchy},
    error::StartError,
    leader::Leader,
    leaders::Leaders,
    spec::TreeLimits,
    sweep::{self, Sweep},
    table::{Table, TreeLook},
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
    /// Known where orphans fall to this process: as a subreaper, or as the first of its PID namespace.
    leaders: Option<Leaders>,
    instance: String,
    lingering: PathBuf,
    survivors: Mutex<Vec<Tree>>,
    /// Leaders that were given up while the kernel held them, and are to be reaped when it lets go.
    unreaped: Mutex<Vec<Arc<Leader>>>,
}

#[derive(Debug)]
enum Way {
    Cgroup(Hierarchy),
    Sweep { why: String },
}

/// A place for a tree that is about to be spawned.
#[derive(Debug)]
pub(super) enum Place {
    Cgroup(Group),
    /// The tag.
    Sweep(String),
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
            Choice::Auto => match Hierarchy::open(instance) {
                Ok(hierarchy) => Way::Cgroup(hierarchy),
                Err(why) => Way::Sweep { why },
            },
            Choice::Sweep => Way::Sweep {
                why: "it was asked for".into(),
            },
        };
        let (record, leaders) = match &way {
            Way::Cgroup(hierarchy) => {
                let is_first = std::process::id() == 1;
                let base = hierarchy.base().to_string_lossy().into_owned();
                (base, is_first.then(Leaders::default))
            }
            Way::Sweep { .. } => {
                rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
                (String::new(), Some(Leaders::default()))
            }
        };
        fs::write(state_dir.join(WAY_FILE), record)?;
        let containment = Self {
            way,
            leaders,
            instance: instance.to_owned(),
            lingering,
            survivors: Mutex::default(),
            unreaped: Mutex::default(),
        };
        containment.adopt_lingering()?;
        Ok((containment, killed))
    }

    /// For the start-up line.
    pub(super) fn describe(&self) -> String {
        match &self.way {
            Way::Cgroup(hierarchy) => format!("cgroup v2 ({})", hierarchy.base().display()),
            Way::Sweep { why } => format!(
                "process sweep, since {why}; a command that clears its environment and double-forks may escape a kill"
            ),
        }
    }

    /// A place for the tree of the execution `id`.
    pub(super) fn place(&self, id: &str, limits: TreeLimits) -> Result<Place, StartError> {
        match &self.way {
            Way::Cgroup(hierarchy) => hierarchy.take(limits).map(Place::Cgroup),
            Way::Sweep { why } if limits != TreeLimits::default() => {
                Err(cgroup::unavailable(limits, why.clone()))
            }
            Way::Sweep { .. } => Ok(Place::Sweep(format!("{}.{id}", self.instance))),
        }
    }

    /// Spawns with `spawn`, in a way that nobody takes the new leader for an orphan.
    pub(super) fn guard(&self, spawn: impl FnOnce() -> io::Result<Leader>) -> io::Result<Leader> {
        match &self.leaders {
            None => spawn(),
            Some(leaders) => {
                let mut leaders = leaders.lock();
                let leader = spawn()?;
                leaders.insert(leader.pid());
                Ok(leader)
            }
        }
    }

    /// Reaps a leader that is on its way out, because it could not execute or was killed.
    pub(super) fn bury(&self, leader: &Arc<Leader>) {
        let mut fds = [PollFd::new(leader.pidfd(), PollFlags::IN)];
        // One that the kernel holds is not waited for.
        let _ = poll(&mut fds, Some(&BURIAL_BOUND));
        self.reap(leader);
    }

    fn reap(&self, leader: &Arc<Leader>) {
        if !self.has_reaped(leader) {
            lock(&self.unreaped).push(Arc::clone(leader));
        }
    }

    fn has_reaped(&self, leader: &Leader) -> bool {
        match &self.leaders {
            None => leader.reap(),
            Some(leaders) => leaders.reap(leader),
        }
    }

    /// Takes back a place in which nothing was spawned.
    pub(super) fn abandon(&self, place: Place) {
        if let (Way::Cgroup(hierarchy), Place::Cgroup(group)) = (&self.way, place) {
            hierarchy.release(group);
        }
    }

    /// Reaps the leader and takes back its tree. What of it `lives_on` is left alone, by the instance after this one, too;
    /// else it was killed, and what the kernel still holds of it is looked after until the kernel lets go.
    pub(super) fn leave(&self, leader: &Arc<Leader>, tree: Tree, lives_on: bool) {
        self.reap(leader);
        if self.has_no_orphans() || tree.is_absent(&LazyCell::new(Table::read)) {
            return self.release(tree);
        }
        // Before a sweep may find it empty, and its name free for another.
        if lives_on && let Err(error) = fs::write(self.lingering.join(tree.name()), "") {
            tracing::warn!(%error, "cannot remember that a process tree is to live on");
        }
        lock(&self.survivors).push(tree);
    }

    /// Whether it is plain, without a look at a tree, that nothing lives in any that has lost its leader.
    fn has_no_orphans(&self) -> bool {
        self.leaders
            .as_ref()
            .is_some_and(|leaders| !leaders.have_orphans())
    }

    /// Reaps orphans, where they fall to this process.
    pub(super) fn reap_orphans(&self) {
        if let Some(leaders) = &self.leaders {
            leaders.reap_orphans();
        }
    }

    /// Looks after what lived on: an empty tree goes, a leader that has ended is reaped. Reaps orphans, where they fall to
    /// this process.
    pub(super) fn sweep(&self) {
        lock(&self.unreaped).retain(|leader| !self.has_reaped(leader));
        let table: LazyCell<Table> = LazyCell::new(Table::read);
        let mut survivors = lock(&self.survivors);
        let is_gone = |tree: &mut Tree| tree.is_absent(&table);
        let gone: Vec<_> = survivors.extract_if(.., is_gone).collect();
        drop(survivors);
        for tree in gone {
            let _ = fs::remove_file(self.lingering.join(tree.name()));
            self.release(tree);
        }
        self.reap_orphans();
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
                Some(tree) => lock(&self.survivors).push(tree),
                None => fs::remove_file(self.lingering.join(name))?,
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether nothing is alive in it at one look, which is enough where it was not killed. `table` is read if it has to
    /// be.
    fn is_absent(&self, table: &LazyCell<Table>) -> bool {
        match self {
            Self::Cgroup(group) => group.is_empty(),
            Self::Sweep(sweep) => sweep.is_absent(table),
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

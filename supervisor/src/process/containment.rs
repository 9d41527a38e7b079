//! How process trees are kept together on this machine, and what became of those of the instance before this one.
//!
//! The choice is written into the state folder, with the names of the trees that are meant to live on, so that the next
//! start knows what to kill and what to leave alone.

use std::{
    fs, io,
    os::fd::BorrowedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    desk::{Desk, Left},
    error::StartError,
    group::Fresh,
    hierarchy::{self, Hierarchy},
    keeper::{Keeper, Kept},
    leader::Leader,
    leaders::Leaders,
    scanner,
    spec::TreeLimits,
    survivors::{self, Slot, Survivors},
    sweep::Sweep,
    table::{ProcessTable, TreeLook},
    tree::{self, Tree},
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

/// The way that was taken, and who looks after it.
#[derive(Debug)]
pub(super) struct Containment {
    /// Ends when this is dropped.
    _keeper: Keeper,
    kept: Arc<Kept>,
    /// It was said once that no more trees can be remembered.
    is_full: AtomicBool,
}

#[derive(Debug)]
pub(super) enum Way {
    Cgroup(Hierarchy),
    Sweep { why: String },
}

/// A place for a tree that is about to be spawned.
#[derive(Debug)]
pub(super) enum Place {
    Cgroup(Fresh),
    /// The tag.
    Sweep(String),
}

/// The file in the state folder that says which way the instance took: the folder of its cgroups, or nothing.
const WAY_FILE: &str = "containment";

impl Containment {
    /// Kills what a crash has left, then makes the way of this instance. Returns how many trees or processes it killed.
    pub(super) fn open(
        instance: &str,
        state_dir: &Path,
        choice: Choice,
    ) -> io::Result<(Self, usize)> {
        let (survivors, names) = Survivors::open(state_dir)?;
        let killed = kill_leftovers(instance, state_dir, &names)?;
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
            Way::Sweep { why } => {
                ProcessTable::open().map_err(|error| without_proc(&error, why))?;
                rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
                (String::new(), Some(Leaders::default()))
            }
        };
        let draft = state_dir.join(format!("{WAY_FILE}.new"));
        fs::write(&draft, record)?;
        fs::rename(draft, state_dir.join(WAY_FILE))?;
        let left = adopt(&way, instance, names);
        let kept = Arc::new(Kept {
            way,
            leaders,
            instance: instance.to_owned(),
            survivors,
            desk: Desk::new(left),
        });
        let containment = Self {
            _keeper: Keeper::start(&kept)?,
            kept,
            is_full: AtomicBool::new(false),
        };
        Ok((containment, killed))
    }

    /// The way that was taken.
    pub(super) fn way(&self) -> &Way {
        &self.kept.way
    }

    /// This server's name for itself.
    pub(super) fn instance(&self) -> &str {
        &self.kept.instance
    }

    /// For the start-up line.
    pub(super) fn describe(&self) -> String {
        match &self.kept.way {
            Way::Cgroup(hierarchy) => format!("cgroup v2 ({})", hierarchy.base().display()),
            Way::Sweep { why } => format!(
                "process sweep, since {why}; a command that clears its environment and double-forks may escape a kill"
            ),
        }
    }

    /// A place for the tree of the execution `id`.
    pub(super) fn place(&self, id: &str, limits: TreeLimits) -> Result<Place, StartError> {
        match &self.kept.way {
            Way::Cgroup(hierarchy) => {
                let discard = |fresh| self.abandon(Place::Cgroup(fresh));
                let fresh = hierarchy.take(limits, discard)?;
                if hierarchy.is_low() {
                    self.kept.desk.refill();
                }
                Ok(Place::Cgroup(fresh))
            }
            Way::Sweep { why } if limits != TreeLimits::default() => {
                Err(hierarchy::unavailable(limits, why.clone()))
            }
            Way::Sweep { .. } => Ok(Place::Sweep(format!("{}.{id}", self.kept.instance))),
        }
    }

    /// Spawns with `spawn`, in a way that nobody takes the new leader for an orphan.
    pub(super) fn guard(&self, spawn: impl FnOnce() -> io::Result<Leader>) -> io::Result<Leader> {
        match &self.kept.leaders {
            None => spawn(),
            Some(leaders) => leaders.guard(spawn),
        }
    }

    /// Reaps a leader that is on its way out, because it could not execute or was killed: now, or when it has ended.
    pub(super) fn bury(&self, leader: &Arc<Leader>) {
        let is_reaped = match &self.kept.leaders {
            None => leader.reap(),
            Some(leaders) => leaders.reap(leader),
        };
        if !is_reaped {
            self.kept.desk.reap(leader.pid());
        }
    }

    /// Takes back a place in which nothing lives. It is not used again: a command may have been in it.
    pub(super) fn abandon(&self, place: Place) {
        if let Place::Cgroup(fresh) = place {
            let group = Arc::new(fresh.into_group());
            self.kept.desk.leave(Left::Group { group, slot: None });
        }
    }

    /// Has the keeper remove a group when it is empty.
    pub(super) fn leave_path(&self, left: Left) {
        self.kept.desk.leave(left);
    }

    /// Tells the keeper that something is asked of `tree`.
    pub(super) fn tell(&self, tree: &Tree, keeper: tree::Keeper) {
        if keeper == tree::Keeper::IsAsked {
            self.kept.desk.ask(tree);
        }
    }

    /// Reaps the leader and takes back its tree. What of it `lives_on` is left alone, by the instance after this one, too;
    /// else it was killed, and what the kernel still holds of it goes when the kernel lets go.
    pub(super) fn leave(&self, leader: &Arc<Leader>, tree: Tree, lives_on: bool) {
        match tree {
            Tree::Cgroup(group) => {
                let slot = (lives_on && !group.is_empty())
                    .then(|| self.remember(&group.name()))
                    .flatten();
                self.bury(leader);
                self.kept.desk.leave(Left::Group { group, slot });
            }
            Tree::Sweep(sweep) => {
                // Before the next start may take it for a leftover. Most leave nothing, and are forgotten at once.
                let slot = (lives_on && sweep.look() != TreeLook::Gone)
                    .then(|| self.remember(sweep.execution()))
                    .flatten();
                self.bury(leader);
                if let Some(slot) = slot {
                    let sweep = Arc::clone(&sweep);
                    self.kept.desk.leave(Left::Sweep { sweep, slot });
                }
                sweep.end();
            }
            Tree::Descent(_) => self.bury(leader),
        }
    }

    /// Kills a tree that nobody supervises any more, and reaps its leader.
    pub(super) fn end(&self, leader: &Arc<Leader>, tree: Tree) {
        let keeper = tree.kill(leader);
        self.tell(&tree, keeper);
        match tree {
            Tree::Cgroup(group) => {
                self.bury(leader);
                self.kept.desk.leave(Left::Group { group, slot: None });
            }
            // The leader's number is the tree's until all of it is gone.
            Tree::Sweep(sweep) => self.kept.desk.bury_with(sweep),
            Tree::Descent(_) => self.bury(leader),
        }
    }

    fn remember(&self, name: &str) -> Option<Slot> {
        let remembered = self.kept.survivors.remember(name);
        let warned = remembered.inspect_err(|error| {
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::warn!(%error, "cannot remember that a process tree is to live on; a crash will end it");
            }
        });
        warned.ok()
    }
}

fn without_proc(error: &io::Error, why: &str) -> io::Error {
    let text = format!(
        "/proc cannot be read ({error}), and without cgroups ({why}) process trees are found there; mount it"
    );
    io::Error::new(error.kind(), text)
}

/// The trees that the instance before this one let live on, as far as this way can tell what becomes of them.
fn adopt(way: &Way, instance: &str, names: Vec<(String, Slot)>) -> Vec<Left> {
    let left = names.into_iter().map(|(name, slot)| match way {
        Way::Cgroup(hierarchy) => Left::Path {
            path: hierarchy.base().join(name),
            slot: Some(slot),
        },
        // No pid is known any more; 0 is nobody's session.
        Way::Sweep { .. } => Left::Sweep {
            sweep: Arc::new(Sweep::new(0, format!("{instance}.{name}"))),
            slot,
        },
    });
    left.collect()
}

impl Place {
    /// For clone3.
    pub(super) fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Cgroup(fresh) => Some(fresh.fd()),
            Self::Sweep(_) => None,
        }
    }

    /// The tree of `leader`, which was spawned here.
    pub(super) fn into_tree(self, leader: &Leader) -> Tree {
        match self {
            Self::Cgroup(fresh) => Tree::Cgroup(Arc::new(fresh.into_group())),
            Self::Sweep(tag) => Tree::Sweep(Arc::new(Sweep::new(leader.pid(), tag))),
        }
    }
}

/// Kills what the instance before this one has left, whichever way it took. Where its record is damaged, it may have taken
/// either.
fn kill_leftovers(instance: &str, state_dir: &Path, names: &[(String, Slot)]) -> io::Result<usize> {
    let path = state_dir.join(WAY_FILE);
    let keep = |name: &str| names.iter().any(|(kept, _)| kept == name);
    let by_group = |base: &Path| hierarchy::kill_leftovers(base, keep);
    let by_tag = || match ProcessTable::open() {
        Ok(table) => scanner::kill_leftovers(instance, &table, keep),
        Err(_) => (0, false),
    };
    let (killed, are_gone) = match fs::read(&path) {
        Ok(record) if record.is_empty() => by_tag(),
        Ok(record) => match std::str::from_utf8(&record).map(Path::new) {
            Ok(base) if hierarchy::is_base(base, instance) => by_group(base),
            _ => {
                survivors::set_aside(&path)?;
                either(instance, by_group, by_tag)
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0, true),
        Err(_) => {
            survivors::set_aside(&path)?;
            either(instance, by_group, by_tag)
        }
    };
    if !are_gone {
        tracing::warn!(
            "something that a crash of the remexd before this one has left does not end of its KILL"
        );
    }
    Ok(killed)
}

fn either(
    instance: &str,
    by_group: impl FnOnce(&Path) -> (usize, bool),
    by_tag: impl FnOnce() -> (usize, bool),
) -> (usize, bool) {
    let base = hierarchy::likely_base(instance);
    let (groups, are_groups_gone) = base.map_or((0, true), |base| by_group(&base));
    let (processes, are_processes_gone) = by_tag();
    (groups + processes, are_groups_gone && are_processes_gone)
}

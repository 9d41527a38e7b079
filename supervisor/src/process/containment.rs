//! How process trees are kept together on this machine: the way that was taken, and the trees, from their place before the
//! spawn to what is left of them.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    desk::{Desk, Left},
    error::StartError,
    keeper::{Keeper, Kept},
    leader::Leader,
    leaders::Leaders,
    leftovers,
    place::Place,
    spec::TreeLimits,
    survivors::{Slot, Survivors},
    table::TreeLook,
    tree::{self, Tree},
    tree_limits,
    way::{Choice, Way},
};

/// The way that was taken, and who looks after it.
#[derive(Debug)]
pub(super) struct Containment {
    /// Ends when this is dropped.
    _keeper: Keeper,
    kept: Arc<Kept>,
    /// It was said once that no more trees can be remembered.
    is_full: AtomicBool,
}

impl Containment {
    /// Kills what a crash has left, then makes the way of this instance. Returns how many trees or processes it killed.
    pub(super) fn open(
        instance: &str,
        state_dir: &Path,
        choice: Choice,
    ) -> io::Result<(Self, usize)> {
        let (survivors, names) = Survivors::open(state_dir)?;
        let killed = leftovers::kill(instance, state_dir, &names)?;
        let way = Way::choose(choice, instance)?;
        leftovers::record(&way, state_dir)?;
        let left = leftovers::adopt(&way, instance, names);
        let kept = Arc::new(Kept {
            leaders: way.has_orphans().then(Leaders::default),
            way,
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

    /// Where supervisors are to be born; `None`: where this process is.
    pub(super) fn supervisors(&self) -> io::Result<Option<OwnedFd>> {
        match &self.kept.way {
            Way::Cgroup(hierarchy) => hierarchy.durable().supervisors().map(Some),
            Way::Sweep { .. } => Ok(None),
        }
    }

    /// For the start-up line.
    pub(super) fn describe(&self) -> String {
        self.kept.way.describe()
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
                Err(tree_limits::unavailable(limits, why.clone()))
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

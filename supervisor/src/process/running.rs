//! A process tree that runs, or has ended and is not let go of yet. No method waits, and none looks through /proc.

use std::{io, sync::Arc, time::Instant};

use super::{
    containment::Containment,
    leader::{ExitStatus, Leader, Pidfd, Usage},
    pty::Master,
    solo,
    table::TreeLook,
    tree::{Keeper, Tree},
};

/// A process tree with its leader not reaped.
#[derive(Debug)]
pub struct Process {
    leader: Arc<Leader>,
    tree: Option<Tree>,
    terminal: Option<Master>,
    care: Care,
}

/// Who looks after a tree beside its supervision, and after what is left of it.
#[derive(Debug)]
pub(super) enum Care {
    /// The keeper of a process that runs many commands.
    Kept(Arc<Containment>),
    /// A process that runs this command alone, without a keeper.
    Solo,
}

impl Care {
    fn tell(&self, tree: &Tree, keeper: Keeper) {
        match self {
            Self::Kept(containment) => containment.tell(tree, keeper),
            Self::Solo => solo::tell(tree, keeper),
        }
    }

    fn leave(&self, leader: &Arc<Leader>, tree: Tree, lives_on: bool) {
        match self {
            Self::Kept(containment) => containment.leave(leader, tree, lives_on),
            Self::Solo => drop(leader.reap()),
        }
    }

    fn end(&self, leader: &Arc<Leader>, tree: Tree) {
        match self {
            Self::Kept(containment) => containment.end(leader, tree),
            Self::Solo => solo::end(leader, &tree),
        }
    }
}

impl Process {
    /// `terminal` is for its size, and for signals to the foreground.
    pub(super) fn new(leader: Leader, tree: Tree, terminal: Option<Master>, care: Care) -> Self {
        Self {
            leader: Arc::new(leader),
            tree: Some(tree),
            terminal,
            care,
        }
    }

    /// Reaps what has fallen to this process, as the tree's subreaper, and has ended; but for the leader.
    pub(crate) fn reap_orphans(&self) {
        solo::reap_orphans(self.leader.pid());
    }

    /// Whether it runs on a terminal.
    pub fn has_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// The leader's process id.
    pub fn pid(&self) -> i32 {
        self.leader.pid()
    }

    /// When it was spawned, a moment before its program was executed.
    pub fn born(&self) -> Instant {
        self.leader.born()
    }

    /// Readable when the leader has ended.
    pub fn pidfd(&self) -> Pidfd {
        self.leader.shared_pidfd()
    }

    /// How the leader ended, if it has. It stays unreaped.
    pub fn status(&self) -> io::Result<Option<(ExitStatus, Usage)>> {
        self.leader.status()
    }

    /// Sends a signal to the leader's process group, on a terminal to the foreground group.
    pub fn signal_group(&self, number: i32) -> io::Result<()> {
        match &self.terminal {
            Some(master) => master
                .signal_foreground(number)
                .or_else(|_| self.leader.signal_group(number)),
            None => self.leader.signal_group(number),
        }
    }

    /// Sends a signal to the whole tree, once to each process.
    pub fn signal_tree(&self, number: i32) {
        if let Some(tree) = &self.tree {
            let keeper = tree.signal(&self.leader, number);
            self.care.tell(tree, keeper);
        }
    }

    /// Kills the whole tree; to be repeated until [`Self::look_at_tree`] finds it gone.
    pub fn kill_tree(&self) {
        if let Some(tree) = &self.tree {
            let keeper = tree.kill(&self.leader);
            self.care.tell(tree, keeper);
        }
    }

    /// What in the tree lives, as far as it was seen since it was last signalled or killed. The unreaped leader does not,
    /// once it has ended.
    pub fn look_at_tree(&self) -> TreeLook {
        let Some(tree) = &self.tree else {
            return TreeLook::Gone;
        };
        let (keeper, look) = tree.look();
        self.care.tell(tree, keeper);
        look
    }

    /// Whether the kernel killed a process of the tree for want of memory.
    pub fn oom_killed(&self) -> bool {
        self.tree.as_ref().is_some_and(Tree::oom_killed)
    }

    /// Sets the window size of its terminal; `false` if it has none.
    pub fn resize(&self, size: super::WindowSize) -> io::Result<bool> {
        match &self.terminal {
            Some(master) => master.resize(size).map(|()| true),
            None => Ok(false),
        }
    }

    /// Gives up its terminal: with the last master closed, it is hung up.
    pub fn close_terminal(&mut self) {
        self.terminal = None;
    }

    /// Reaps the leader, which has ended. What still lives in its tree is left alone.
    pub fn leave(mut self) {
        if let Some(tree) = self.tree.take() {
            self.care.leave(&self.leader, tree, true);
        }
    }

    /// Lets go of a tree that was killed and that the kernel holds. It is reaped when the kernel lets go of it, too.
    pub fn give_up(mut self) {
        if let Some(tree) = self.tree.take() {
            self.care.leave(&self.leader, tree, false);
        }
    }
}

impl Drop for Process {
    /// A process that nobody supervises any more is killed, tree and all, and reaped.
    fn drop(&mut self) {
        if let Some(tree) = self.tree.take() {
            self.care.end(&self.leader, tree);
        }
    }
}

//! One execution's process tree: its cgroup, its tag, or what descends from the process that runs it alone. It is signalled, killed and looked at by calls that never wait:
//! what takes longer is written down for the keeper.

use std::sync::Arc;

use super::{descent::Descent, group::Group, leader::Leader, sweep::Sweep, table::TreeLook};

/// One execution's process tree.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Cgroup(Arc<Group>),
    Sweep(Arc<Sweep>),
    Descent(Arc<Descent>),
}

/// Whether the keeper has something new to do.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    IsAsked,
    IsNot,
}

impl Keeper {
    fn is_asked(is: bool) -> Self {
        if is { Self::IsAsked } else { Self::IsNot }
    }
}

impl Tree {
    /// Sends a signal to all of it, once to each process. `leader` leads it and is not reaped.
    pub(super) fn signal(&self, leader: &Leader, number: i32) -> Keeper {
        match self {
            Self::Cgroup(group) => {
                // The leader may have left the cgroup, but never its process group. An error says that nothing is in it.
                let _ = leader.signal_group(number);
                Keeper::is_asked(group.ask_for_signal(leader.pid(), number))
            }
            // Who descends from whom is seen only before the first one has ended.
            Self::Sweep(sweep) => {
                sweep.signal(number);
                Keeper::IsAsked
            }
            Self::Descent(descent) => {
                descent.signal(leader, number);
                Keeper::IsNot
            }
        }
    }

    /// Kills all of it; to be repeated until [`Self::look`] finds it gone. `leader` leads it and is not reaped.
    pub(super) fn kill(&self, leader: &Leader) -> Keeper {
        match self {
            Self::Cgroup(group) => {
                // The leader may have left the cgroup. Errors say that there is nobody to be killed.
                let _ = leader.kill();
                let _ = leader.signal_group(libc::SIGKILL);
                match group.kill() {
                    Ok(()) => Keeper::IsNot,
                    Err(error) => {
                        tracing::debug!(%error, "cannot kill a cgroup as a whole; killing its processes one by one");
                        Keeper::is_asked(group.ask_for_signal(leader.pid(), libc::SIGKILL))
                    }
                }
            }
            Self::Sweep(sweep) => {
                sweep.kill();
                Keeper::IsAsked
            }
            Self::Descent(descent) => {
                descent.kill(leader);
                Keeper::IsNot
            }
        }
    }

    /// What lives in it. What was not seen to be empty is not gone.
    pub(super) fn look(&self) -> (Keeper, TreeLook) {
        match self {
            Self::Cgroup(group) if group.is_empty() => (Keeper::IsNot, TreeLook::Gone),
            Self::Cgroup(group) => {
                let (is_new, verdict) = group.ask_for_verdict();
                (Keeper::is_asked(is_new), verdict)
            }
            Self::Sweep(sweep) => {
                let verdict = sweep.look();
                (Keeper::is_asked(verdict != TreeLook::Gone), verdict)
            }
            Self::Descent(descent) => (Keeper::IsNot, descent.look()),
        }
    }

    /// Whether the kernel killed a process of it for want of memory.
    pub(super) fn oom_killed(&self) -> bool {
        match self {
            Self::Cgroup(group) => group.oom_killed(),
            Self::Sweep(_) | Self::Descent(_) => false,
        }
    }
}

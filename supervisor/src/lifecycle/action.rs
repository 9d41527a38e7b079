//! What a life asks for.

use super::outcome::Outcome;

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send a signal to the leader's process group, on a terminal to the foreground group.
    SignalGroup(i32),
    /// Send a signal to the whole tree.
    SignalTree(i32),
    /// Kill the whole tree.
    KillTree,
    /// Say [`TreeGone`](super::fact::Fact::TreeGone) if nothing in the tree lives, else [`TreeLives`](super::fact::Fact::TreeLives).
    LookAtTree,
    /// Close the read ends; a terminal is hung up. No output comes after it.
    CloseOutput,
    /// Reap the leader and report. Nothing comes after it.
    Finish(Outcome),
}

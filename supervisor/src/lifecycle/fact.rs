//! What a life is told.

use super::{outcome::Cause, output::STREAMS};
use crate::process::ExitStatus;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The command wrote something, which was read.
    Output {
        /// Where, as an index.
        stream: usize,
        /// How much.
        bytes: usize,
    },
    /// One of its streams has ended: nobody holds it open any more, or there is none.
    OutputEnded {
        /// Which, as an index.
        stream: usize,
    },
    /// The reader has no room: output cannot be read.
    Blocked,
    /// It has room again.
    Unblocked,
    /// The leader has ended.
    Exited {
        /// How.
        status: ExitStatus,
        /// Bytes of each stream that it, or others, had written by then and that were not read yet.
        unread: [usize; STREAMS],
    },
    /// A caller sends a signal, 1 to [`MAX_SIGNAL`](super::life::MAX_SIGNAL).
    Signal(i32),
    /// The execution has to end.
    End(Cause),
    /// The kernel does not tell how the leader ends: its end is not to be waited for.
    Lost,
    /// Nothing in the tree lives any more: the answer to [`LookAtTree`](super::action::Action::LookAtTree).
    TreeGone {
        /// Bytes of each stream that it had written by then and that were not read yet.
        unread: [usize; STREAMS],
    },
    /// Something does: the other answer.
    TreeLives {
        /// All of it is held by the kernel, so that no signal reaches it.
        held: bool,
    },
    /// The time of [`Life::deadline`](super::life::Life::deadline) has come.
    Deadline,
}

//! What callers are told: numbered events, the last of which is the exit.

use std::time::{Duration, SystemTime};

use super::{outcome::Outcome, output::Chunk};
use crate::process::Usage;

/// Something that happened to an execution.
#[derive(Debug, Clone)]
pub struct Event {
    /// 1 is [`EventKind::Started`], then one more each.
    pub sequence: u64,
    /// By the server's clock.
    pub time: SystemTime,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// The command runs.
    Started {
        /// The leader's process id.
        pid: i32,
    },
    /// It wrote something.
    Output(Chunk),
    /// It ended, and this is the last event.
    Exited(Exit),
}

/// How an execution ended, in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The end itself.
    pub outcome: Outcome,
    /// From the spawn to the leader's end.
    pub wall_time: Duration,
    /// What it used.
    pub usage: Usage,
    /// The kernel killed a process of it for want of memory.
    pub oom_killed: bool,
    /// Something held its output open when reading ended.
    pub output_left_open: bool,
}

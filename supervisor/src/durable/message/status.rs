//! How an execution is, and who is attached. Pure.

use crate::codec::{Decoder, Encoder};

/// Who is attached, at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attached {
    /// How many callers.
    pub callers: u32,
    /// How many that only observe.
    pub observers: u32,
    /// The lowest sequence that every caller has been sent.
    pub sent: u64,
}

/// How far a supervisor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has no execution.
    Spare,
    /// It waits for its order.
    Ready,
    /// The command is on its way.
    Starting,
    /// It runs.
    Running,
    /// It has ended.
    Ended,
}

/// What the command's output waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockedBy {
    /// A reader: no more of it is kept.
    Keep,
    /// Room on disk.
    Disk,
}

/// How an execution is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// How far it is.
    pub stage: Stage,
    /// The leader's process id; 0 before it runs.
    pub pid: i32,
    /// The last event's sequence.
    pub last_sequence: u64,
    /// The last one that may be told.
    pub through: u64,
    /// The earliest output that is kept.
    pub first_kept: u64,
    /// Position up to which stdin has been accepted.
    pub stdin_accepted: u64,
    /// Bytes that were read of stdout, or the terminal.
    pub stdout_bytes: u64,
    /// Bytes that were read of stderr.
    pub stderr_bytes: u64,
    /// What the journal takes.
    pub stored_bytes: u64,
    /// What its output waits for.
    pub blocked: Option<BlockedBy>,
    /// Why nothing is stored any more; empty: it is.
    pub storage_error: String,
    /// Who is attached.
    pub attached: Attached,
}

impl Attached {
    pub(super) fn encode(self, out: &mut Encoder) {
        out.u32(self.callers);
        out.u32(self.observers);
        out.u64(self.sent);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            callers: from.u32()?,
            observers: from.u32()?,
            sent: from.u64()?,
        })
    }
}

impl Stage {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Spare => 0,
            Self::Ready => 1,
            Self::Starting => 2,
            Self::Running => 3,
            Self::Ended => 4,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Spare,
            1 => Self::Ready,
            2 => Self::Starting,
            3 => Self::Running,
            4 => Self::Ended,
            _ => return None,
        })
    }
}

impl BlockedBy {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Keep => 0,
            Self::Disk => 1,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Keep),
            1 => Some(Self::Disk),
            _ => None,
        }
    }
}

impl Status {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.u8(self.stage.number());
        out.i32(self.pid);
        for number in [
            self.last_sequence,
            self.through,
            self.first_kept,
            self.stdin_accepted,
            self.stdout_bytes,
            self.stderr_bytes,
            self.stored_bytes,
        ] {
            out.u64(number);
        }
        out.option(self.blocked, |out, by| out.u8(by.number()));
        out.str(&self.storage_error);
        self.attached.encode(out);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Option<Self> {
        Some(Self {
            stage: Stage::from_number(from.u8()?)?,
            pid: from.i32()?,
            last_sequence: from.u64()?,
            through: from.u64()?,
            first_kept: from.u64()?,
            stdin_accepted: from.u64()?,
            stdout_bytes: from.u64()?,
            stderr_bytes: from.u64()?,
            stored_bytes: from.u64()?,
            blocked: from.option(|from| BlockedBy::from_number(from.u8()?))?,
            storage_error: from.string()?,
            attached: Attached::decode(from)?,
        })
    }
}

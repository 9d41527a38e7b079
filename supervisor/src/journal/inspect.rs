//! What a journal says of its execution, without reading all of it: the records before the first output, and the last ones.

use std::time::SystemTime;

use super::{
    error::OpenError, format::SyncMode, record::Lost, reservation::Reservation, storage::Folder,
    survey::survey,
};
use crate::lifecycle::event::Exit;

/// What a journal says of its execution.
#[derive(Debug, Clone)]
pub struct JournalSummary {
    /// The execution, unless that cannot be read.
    pub id: Option<String>,
    /// What of it is synced.
    pub sync: SyncMode,
    /// What was known before it ran, if that can be read.
    pub reservation: Option<Reservation>,
    /// Its leader, and when it was started.
    pub started: Option<Started>,
    /// How far it has come.
    pub stage: Stage,
    /// The earliest event of which the output is kept; the next one if there is none.
    pub first_sequence: u64,
    /// The last event.
    pub last_sequence: u64,
    /// Bytes of stdout, stderr and terminal.
    pub positions: [u64; 3],
    /// stdin that was accepted, as far as it was recorded.
    pub stdin_accepted: u64,
    /// Bytes of the journal's files.
    pub stored_bytes: u64,
    /// What of the journal's storage has failed.
    pub storage_error: Option<String>,
    /// Bytes behind the last record that are none: of a write that was not finished.
    pub torn_bytes: u64,
    /// Something before the last record cannot be read.
    pub is_damaged: bool,
}

/// That a command was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The leader's process id.
    pub pid: i32,
    /// When.
    pub time: SystemTime,
}

/// How far an execution has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There is a journal for it.
    Prepared,
    /// It may run from now on.
    Reserved,
    /// It did not run, and will not.
    NotStarted,
    /// It runs.
    Running,
    /// It has ended.
    Ended {
        /// When.
        time: SystemTime,
        /// How.
        exit: Exit,
    },
    /// Nobody saw its end.
    Lost {
        /// When that was found.
        time: SystemTime,
        /// What is not known.
        lost: Lost,
    },
}

/// What has become of an execution that nobody looks after any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It did not run.
    NeverRan,
    /// It is recorded.
    Known,
    /// It is not known.
    Lost(Lost),
}

impl JournalSummary {
    /// What has become of the execution if no supervisor looks after it; `same_boot` says whether the host is up since.
    pub fn fate(&self, same_boot: bool) -> Fate {
        match self.stage {
            // What was written and not synced, a power cut may have taken.
            Stage::Prepared
                if self.torn_bytes == 0 && (same_boot || self.sync != SyncMode::None) =>
            {
                Fate::NeverRan
            }
            Stage::Prepared | Stage::Reserved => Fate::Lost(Lost::Start),
            Stage::NotStarted => Fate::NeverRan,
            Stage::Running if same_boot => Fate::Lost(Lost::Exit),
            Stage::Running => Fate::Lost(Lost::Reboot),
            Stage::Ended { .. } | Stage::Lost { .. } => Fate::Known,
        }
    }

    /// Whether there is a last event.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. } | Stage::Lost { .. })
    }
}

/// What `folder`'s journal says.
pub fn inspect<D: Folder>(folder: &D) -> Result<JournalSummary, OpenError> {
    Ok(survey(folder)?.summary)
}

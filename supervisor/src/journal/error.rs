//! What goes wrong with a journal, by what can be done about it.

use std::{fmt, io};

use super::fields::Malformed;

/// A file operation that failed. Of a journal that is written it is final: nothing is tried again, since after a failed
/// sync nobody knows what of the file is on disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation}: {message}")]
pub struct StorageError {
    /// What was tried.
    pub operation: Operation,
    /// The kernel's number of the error, if it is one of the kernel's.
    pub errno: Option<i32>,
    message: String,
}

/// What is done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    MakeFolder,
    OpenFolder,
    RemoveFolder,
    List,
    Create,
    Open,
    Remove,
    Rename,
    Read,
    Write,
    Allocate,
    Truncate,
    Sync,
    SyncFolder,
    Random,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MakeFolder => "make a journal's folder",
            Self::OpenFolder => "open a journal's folder",
            Self::RemoveFolder => "remove a journal's folder",
            Self::List => "list a journal's folder",
            Self::Create => "make a file of a journal",
            Self::Open => "open a file of a journal",
            Self::Remove => "remove a file of a journal",
            Self::Rename => "rename a file of a journal",
            Self::Read => "read a journal",
            Self::Write => "write a journal",
            Self::Allocate => "take room on disk for a journal",
            Self::Truncate => "cut a file of a journal",
            Self::Sync => "sync a file of a journal",
            Self::SyncFolder => "sync a journal's folder",
            Self::Random => "get random bytes for a journal",
        })
    }
}

impl StorageError {
    /// `error`, of `operation`.
    pub(super) fn new(operation: Operation, error: &io::Error) -> Self {
        Self {
            operation,
            errno: error.raw_os_error(),
            message: error.to_string(),
        }
    }

    /// Whether there is no room: neither on the disk nor in the user's share of it.
    pub fn is_full(&self) -> bool {
        matches!(self.errno, Some(libc::ENOSPC | libc::EDQUOT))
    }

    /// Whether what was asked for is not there.
    pub fn is_missing(&self) -> bool {
        self.errno == Some(libc::ENOENT)
    }

    /// Whether what was to be made is there already.
    pub fn is_taken(&self) -> bool {
        self.errno == Some(libc::EEXIST)
    }
}

/// Names the operation of which an error is.
pub(super) trait Of<T> {
    fn of(self, operation: Operation) -> Result<T, StorageError>;
}

impl<T> Of<T> for io::Result<T> {
    fn of(self, operation: Operation) -> Result<T, StorageError> {
        self.map_err(|error| StorageError::new(operation, &error))
    }
}

/// Why a whole record says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadRecord {
    /// Its bytes are not what they claim to be.
    Malformed,
    /// A later version wrote it, and says that it must not be skipped.
    Unsupported(Unsupported),
}

impl From<Malformed> for BadRecord {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Something that only a later version knows what to make of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The whole journal.
    #[error("the journal is of format {0}, which needs a later version of remex")]
    Format(u16),
    /// A record.
    #[error("the journal has a record of kind {0}, which needs a later version of remex")]
    Record(u8),
    /// A part of a record.
    #[error(
        "the journal has a record of kind {kind} with a field {field}, which needs a later version of remex"
    )]
    Field {
        /// The record's kind.
        kind: u8,
        /// The field's number.
        field: u8,
    },
    /// A value of a part of a record.
    #[error(
        "the journal has a record of kind {kind} whose field {field} is {value}, which needs a later version of remex"
    )]
    Value {
        /// The record's kind.
        kind: u8,
        /// The field's number.
        field: u8,
        /// What it says.
        value: u64,
    },
}

/// Why a journal cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// What comes after that position is not kept any more.
    #[error("events after {after} are gone: kept are {first} to {last}")]
    PositionGone {
        /// Where the reader was to begin.
        after: u64,
        /// The earliest event with output that is kept.
        first: u64,
        /// The last event.
        last: u64,
    },
    /// Nothing has come so far.
    #[error("there is no event {after} yet: kept are {first} to {last}")]
    PositionAhead {
        /// Where the reader was to begin.
        after: u64,
        /// The earliest event with output that is kept.
        first: u64,
        /// The last event.
        last: u64,
    },
    /// There is no beginning: it was never written to, or a power cut took it.
    #[error("the journal is blank")]
    Blank,
    /// A later version made it; it is left alone.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The journal has been written to already.
    #[error("the journal is in use or has ended")]
    Used,
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a reader cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What comes next only a later version understands.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A file operation failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unsupported(unsupported) => Self::Unsupported(unsupported),
            ReadError::Storage(error) => Self::Storage(error),
        }
    }
}

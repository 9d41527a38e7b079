//! What is kept of a durable execution on disk: its events, in order, readable while they are written.
//!
//! `format`, `fields` and `record` say what the bytes mean, `reservation` what is known before the command runs: all of them
//! are pure. `storage` has the operations on files.

mod error;
mod fields;
mod format;
mod record;
mod reservation;
mod storage;

pub use error::{OpenError, Operation, ReadError, StorageError, Unsupported};
pub use format::{FORMAT_VERSION, MAX_ID_BYTES, SyncMode, is_valid_id};
pub use record::Lost;
pub use reservation::{
    Claim, MAX_DETAILS_BYTES, MAX_NAME_BYTES, RequestDigest, RequestKey, Reservation,
};
pub use storage::{DiskFolder, Folder, StoredFile};

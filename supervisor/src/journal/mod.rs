//! What is kept of a durable execution on disk: its events, in order, readable while they are written.
//!
//! `format`, `fields`, `record` and `encode` say what the bytes mean, `reservation` what is known before the command runs,
//! and `retention` what has to go to make room: all of them are pure. `storage` has the operations on files, `folder` makes
//! and removes journals. `writer` is the supervisor's: it puts events into a `batch` and that into a `segment`. `reader` goes
//! from frame to frame by its `cursor`; `inspect` gives what a `survey` of the first and the last records finds, and
//! `recover` takes over from a supervisor that has died. `claims` are the request ids that are taken, `boot` tells one boot
//! of the host from another.

mod error;
mod fields;
mod format;
mod record;
mod encode;
mod reservation;
mod storage;
mod folder;
mod batch;
mod segment;
mod retention;
mod cursor;
mod writer;
mod reader;
mod survey;
mod inspect;
mod recover;
mod claims;
mod costs;
mod boot;

pub use boot::boot_id;
pub use claims::{ClaimError, Claimed, Claims, Swept};
pub use costs::JournalCosts;
pub use error::{OpenError, Operation, ReadError, StorageError, Unsupported};
pub use folder::{PREPARED_BYTES, delete, open, prepare, remove, sweep_removed};
pub use format::{FORMAT_VERSION, MAX_ID_BYTES, SyncMode, is_valid_id};
pub use inspect::{Fate, JournalSummary, Stage, Started, inspect};
pub use reader::{Damage, EVERYTHING, Gap, LostEvent, Reader, Step};
pub use record::Lost;
pub use recover::{Recovered, recover};
pub use reservation::{
    Claim, MAX_DETAILS_BYTES, MAX_NAME_BYTES, RequestDigest, RequestKey, Reservation,
};
pub use retention::{
    Attached, DEFAULT_KEEP_BYTES, FIRST_SEGMENT_BYTES, Keep, MAX_SEGMENT_BYTES, MIN_SEGMENT_BYTES,
    OVERHEAD_BYTES, OnFull,
};
pub use storage::{DiskFolder, Folder, StoredFile};
pub use writer::{Commit, Full, Settings, Writer};

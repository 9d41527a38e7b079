//! Executions that outlive this server: each is run by a supervisor of its own, which writes its journal.
//!
//! A start takes one of the `spare` supervisors, of which `stock` says how many wait, and claims its request id
//! (`request_ids`, `digest`); `details` is what the journal keeps of the request. A `host` passes on what callers ask,
//! `seats` says who they are, and each of them follows the journal at its own pace (`follow`). What an earlier server has
//! left, or a supervisor that has died, is found by `recover`. `store` has all of them, `kept` is one's part of its record;
//! `room` makes room by what `retention` says; `files` is where the disk is waited for.

mod adopt;
mod details;
mod digest;
mod files;
mod follow;
mod host;
mod kept;
mod recover;
mod request_ids;
mod retention;
mod room;
pub mod seats;
mod spare;
mod stock;
mod start;
mod store;
mod told_end;

pub(crate) use self::follow::attach;
pub use self::{
    kept::{DURABLE_KEPT, Durability, JournalFacts, Kept},
    retention::RetentionLimits,
    room::{MAX_REQUEST_IDS, RETIRED_KEPT},
    store::{DurableSettings, DurableStore, StoreError},
};

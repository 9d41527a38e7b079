//! Runs one command, from what is to be spawned to its last event, without an async runtime: what waits is a descriptor
//! or a deadline, and who waits is the host's affair.
//!
//! [`process`] spawns, signals and reaps, and keeps a command's process tree together. [`lifecycle`] decides what is done when.
//! [`journal`] keeps on disk what happened to a durable execution, and [`durable`] is the process that runs one; [`state_file`]
//! is how the small files beside it are kept.

mod codec;
mod packet;
pub mod state_file;
pub mod process;
pub mod lifecycle;
pub mod journal;
pub mod durable;
mod zygote;

//! What a daemon does around serving, in the order in which it does it.
//!
//! Hops: flags and [`File`] -> [`logging`] -> (bind) -> [`Ready`] -> (serve) -> [`shutdown`] -> [`Exit`].

pub mod escape;
mod exit;
mod file;
pub mod logging;
mod ready;
pub mod shutdown;

pub use exit::Exit;
pub use file::{File, FileError, MAX_FILE};
pub use ready::{Ready, ReadyError};

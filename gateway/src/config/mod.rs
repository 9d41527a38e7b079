//! What the legacy side of a daemon is told to do: typed, whole, and checked before anything is bound.

mod error;
mod explain;
mod keys;
mod listener;
#[cfg(test)]
mod listener_tests;
mod values;

pub use error::{ListenerError, Problem};
pub use listener::{DatagramService, Drain, Exec, Kind, Listener, StreamService};
pub use values::duration;

//! The one place that spawns, signals, waits, and touches terminals and cgroups. It imports no tokio: what waits is a
//! descriptor, and who waits is the caller's affair.
//!
//! A command goes through `spec` (what), `lookup` and `user` (which file, as whom), `containment` (in which tree) and
//! `clone` and `child` (the spawn itself) into a [`Process`].

mod child;
mod clone;
mod containment;
mod descriptors;
mod desk;
mod environment;
mod error;
mod group;
mod hierarchy;
mod keeper;
mod leader;
mod leaders;
mod limits;
mod lookup;
mod pty;
mod running;
mod scanner;
mod seats;
mod signal;
mod spawn;
mod spec;
mod stdio;
mod survivors;
mod sweep;
mod table;
mod tree;
mod user;

pub use containment::Choice;
pub use error::StartError;
pub use leader::{ExitStatus, Pidfd, Usage};
pub use pty::Master;
pub use running::Process;
pub use spawn::{Settings, Spawner};
pub use spec::{
    CommandSpec, DEFAULT_KILL_AFTER, DEFAULT_TERM, MAX_KILL_AFTER, MAX_STRING_BYTES,
    ResourceLimits, StdinSpec, TerminalSpec, TreeLimits, WindowSize,
};
pub use stdio::Stdio;
pub use table::TreeLook;
pub use user::may_switch;

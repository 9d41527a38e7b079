//! The one place that spawns, signals, waits, and touches terminals and cgroups. It imports no tokio: what waits is a
//! descriptor, and who waits is the caller's affair.
//!
//! A command goes through `spec` (what), `lookup` and `user` (which file, as whom), `containment` (in which tree) and
//! `clone` and `child` (the spawn itself) into a [`Process`].

mod cgroup;
mod child;
mod clone;
mod containment;
mod environment;
mod error;
mod landlock;
mod leader;
mod leaders;
mod limits;
mod lookup;
mod pty;
mod running;
mod seats;
mod signal;
mod spawn;
mod spec;
mod stdio;
mod sweep;
mod table;
mod user;

pub use containment::Choice;
pub use error::StartError;
pub use landlock::landlock_abi;
pub use leader::{ExitStatus, Pidfd, Usage};
pub use running::Process;
pub use spawn::{Settings, Spawner};
pub use spec::{
    CommandSpec, DEFAULT_KILL_AFTER, DEFAULT_TERM, MAX_KILL_AFTER, MAX_STRING_BYTES,
    ResourceLimits, StdinSpec, TerminalSpec, TreeLimits, WindowSize, allocation,
};
pub use stdio::Stdio;
pub use table::TreeLook;
pub use user::may_switch;

//! The one place that spawns, signals, waits, and touches terminals and cgroups. It imports no tokio: what waits is a
//! descriptor, and who waits is the caller's affair.
//!
//! A command goes through `spec` (what), `user` and `lookup` (as whom, which file) into a `plan`; through a `place` for its tree,
//! `clone` and `child`, or the zygote, into a [`Process`]. `spawning` takes it from step to step; `containment` keeps trees.

pub(crate) mod child;
pub(crate) mod clone;
mod containment;
mod delivery;
mod descent;
mod descriptors;
mod desk;
mod disposition;
mod durable;
mod durable_groups;
mod environment;
mod error;
mod examine;
mod failure;
mod gate;
mod group;
pub(crate) mod helper;
mod hierarchy;
pub(crate) mod isolation;
mod keeper;
mod leader;
mod leaders;
mod leftovers;
mod limits;
pub(crate) mod lookup;
mod low_fds;
mod membership;
mod names;
mod offer;
mod own_cgroup;
mod patience;
mod place;
pub(crate) mod plan;
mod prepare;
mod pty;
pub(crate) mod raw;
mod resolving;
mod running;
mod scanner;
mod signal;
pub(crate) mod solo;
mod spawn;
mod spawning;
mod spec;
mod stdio;
mod stuck;
mod survivors;
mod sweep;
mod table;
#[cfg(test)]
mod testing;
mod tree;
mod tree_limits;
mod user;
mod way;

pub use durable::{DurablePlace, TREE_FILE, TreeRecord};
pub use error::StartError;
pub use examine::Examined;
pub use isolation::{
    AppliedParts, IsolationOrigin, IsolationSpec, MAX_ISOLATION_ENTRIES, NetworkSpec, landlock_abi,
};
pub use leader::{ExitStatus, Pidfd, Usage};
pub use membership::ProcessCgroup;
pub use offer::{CgroupOffer, clone3_offer};
pub use patience::SPAWN_BOUND;
pub use plan::argument_bytes;
pub use prepare::{Prepared, prepare};
pub use resolving::{ResolveProgress, Resolved, Resolving};
pub use running::Process;
pub use solo::{ChildFailure, Making, NotStarted};
pub use spawn::{Settings, Spawner};
pub use spawning::{SpawnProgress, Spawning};
pub use spec::{
    CommandSpec, DEFAULT_KILL_AFTER, DEFAULT_TERM, MAX_KILL_AFTER, MAX_STRING_BYTES,
    ResourceLimits, StdinSpec, TerminalSpec, TreeLimits, WindowSize, allocation,
};
pub use stdio::Stdio;
pub(crate) use table::TAG;
pub use table::TreeLook;
pub use user::{Account, account, groups_of, may_switch};
pub use way::Choice;

//! What a command may reach: files and TCP ports by Landlock, a network namespace, and a filter of its system calls.
//!
//! `spec` is what is asked for, `support` what this machine can do, and `decision`, which is pure, what comes of the two. The
//! server makes a ruleset (`grants`), so that the child walks no path: it applies what it finds made (`confine`).

pub(crate) mod confine;
mod decision;
mod grants;
mod landlock;
mod sockets;
mod spec;
mod support;

pub use decision::AppliedParts;
pub(super) use decision::decide;
pub(super) use grants::Granting;
pub use landlock::landlock_abi;
pub use spec::{IsolationOrigin, IsolationSpec, MAX_ISOLATION_ENTRIES, NetworkSpec};
pub(super) use support::Support;

//! Who may run what: rules in a file, which `--policy` names. Without one everybody who is let in may do everything; with one,
//! nobody may do what no rule allows.
//!
//! Hops: the [`mod@file`] becomes an [`AccessPolicy`] of [`rule`]s, whose [`examples`] are checked, at start and whenever it is
//! [`reload`]ed -> a call becomes a [`question`] -> [`judge()`] answers it, and nothing else does: not [`explain`], not the
//! [`gate`] that calls pass. What runs is what was judged: `remex_supervisor::process::Examined` says which file a program is,
//! [`script`] whether a script is to be trusted, and the child executes that file or nothing.

pub mod pattern;
pub mod question;
pub mod rule;
mod limits;
pub mod judge;
pub mod file;
pub mod examples;
pub mod breadth;
pub mod explain;
pub mod machine;
pub mod reload;
pub mod script;
pub mod counts;
pub mod gate;
#[cfg(test)]
mod model;
#[cfg(test)]
mod testing;

pub use judge::{Decision, Denial, Grant, judge};
pub use question::{Act, Asker, Question, Rpc};
pub use reload::CurrentPolicy;
pub use rule::AccessPolicy;

//! The table of outcomes, whoever hosts the engine: `crate::commands` is the host's way to start a command and to have to do with
//! it while it runs.

pub(crate) mod marker;
pub(crate) mod spec;
pub(crate) mod sweep;
pub(crate) mod told;

mod ends;
mod holders;
mod outcomes;
mod stdin;
pub(crate) mod streams;
mod terminal;

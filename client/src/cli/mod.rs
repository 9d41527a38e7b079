//! The command line: one module a subcommand, over what they share. Whatever goes wrong is a [`Failure`] in the end: one
//! line on stderr and an exit code.

mod args;
mod attach;
mod command;
mod echo;
mod escape;
mod failure;
mod ids;
mod json;
mod kill;
mod legacy;
mod logs;
mod ping;
mod print;
mod ps;
mod quote;
mod rm;
mod run;
mod server;
mod start;
mod usage;
mod values;
mod version;
mod wait;

pub(crate) use args::Asked;
pub(crate) use failure::Failure;

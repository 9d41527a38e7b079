//! The legacy gateway, in remexd and as a process of its own, with clients as they are out there.

mod amplification;
mod clients;
mod command_line;
mod crowd;
mod flood;
mod foreign;
mod gone;
pub(crate) mod machines;
mod memory;
mod network;
mod options;
mod room;
mod standalone;
pub(crate) mod support;
mod tutorial;

//! Supervision of one execution, from its spawn to its last event.
//!
//! [`state`] decides what is done when, [`output`] what becomes an event, [`stdin`] what is accepted: all three are pure.
//! [`driver`] is the thin part around them: it waits for descriptors, clocks and callers, feeds what happened to the pure
//! parts, and carries out what they say. Output goes through the outlet to a [`sink`].

pub mod driver;
pub mod event;
pub mod feeder;
pub mod mailbox;
mod outlet;
pub mod output;
mod reader;
mod readiness;
pub mod sink;
pub mod state;
#[cfg(test)]
mod state_tests;
pub mod stdin;

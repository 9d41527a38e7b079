//! Supervision of one execution, from its spawn to its last event.
//!
//! [`driver`] is the thin part around the pure ones of [`remex_supervisor::lifecycle`]: it waits for descriptors, clocks and
//! callers, feeds what happened to the pure parts, and carries out what they say. Output goes through the outlet to a [`sink`].

pub mod driver;
pub mod event;
pub mod feeder;
pub mod mailbox;
mod outlet;
mod reader;
mod readiness;
pub mod sink;

//! The old wires, byte by byte, against services that are played.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod connections;
mod datagrams;
mod denied;
mod fake;
mod json_header;
mod other_wires;
mod refusals;
mod shutdown;
mod site;
mod upstream;

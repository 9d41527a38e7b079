//! The old wires, byte by byte, against services that are played.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod conformance;
mod connections;
mod datagrams;
mod denied;
mod ended;
mod fake;
mod framing;
mod json_header;
mod options;
mod other_wires;
mod path;
mod refusals;
mod shutdown;
mod site;
mod upstream;

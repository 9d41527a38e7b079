//! The audit log of a real remexd: what it says, and what becomes of it where it cannot be written.

mod lines;
mod matrix;
mod sinks;
mod site;

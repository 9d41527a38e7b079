//! What crosses crates: the real programs, driven from outside as their users do.

#[macro_use]
mod harness;

mod gateway;
mod parity;
mod readme;
mod supervision;

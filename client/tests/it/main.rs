//! The client and its command line against a small server made for these tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod connect;
mod fake;
mod job;
mod legacy;
mod library;
mod terminal;

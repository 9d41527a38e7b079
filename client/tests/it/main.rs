//! The client and its command line against a small server made for these tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod cli;
mod connect;
mod examples;
mod fake;
mod job;
mod legacy;
mod library;
mod terminal;

//! The client against a small server made for these tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connect;
mod fake;
mod library;

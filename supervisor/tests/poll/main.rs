//! The engine without a runtime: a small [`host`] waits by poll(2), and the whole table of outcomes holds under it.

#![cfg(test)]

mod host;
mod outlets;
mod commands;

mod readers;
#[path = "../scenarios/mod.rs"]
mod scenarios;

/// The same where there are no cgroups.
#[test]
fn all_of_it_by_sweep() {
    scenarios::sweep::all_of_it_once_more();
}

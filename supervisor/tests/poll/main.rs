//! The engine without a runtime: a small [`host`] waits by poll(2), and the whole table of outcomes holds under it.

#![cfg(test)]

mod host;
mod outlets;
mod commands;

mod readers;
#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::{env, process::Command};

/// The same scenarios where trees are kept together by the sweep. It reaps whatever falls to its process, so that process has
/// to be its own: this program once more.
#[test]
fn all_of_it_by_sweep() {
    if commands::is_by_sweep() {
        return;
    }
    let output = Command::new(env::current_exe().unwrap())
        .env(commands::BY_SWEEP, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("outcomes::exit_codes ... ok"), "{said}");
}

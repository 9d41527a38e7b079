//! Executions in processes of their own: the whole table of outcomes holds there, whatever becomes of the servers that come and go.

#![cfg(test)]

mod zygote;
mod server;
mod commands;

#[path = "../scenarios/mod.rs"]
mod scenarios;
mod survival;
mod presence;
mod starts;
mod keep;
mod protocol;
mod privacy;
mod cost;
mod frozen;
mod crashes;
mod escape;
mod disk;

use std::{env, process::Command};

/// The same where there are no cgroups.
#[test]
fn all_of_it_without_cgroups() {
    if server::is_by_sweep() {
        return;
    }
    let output = Command::new(env::current_exe().unwrap())
        .env(server::BY_SWEEP, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("outcomes::exit_codes ... ok"), "{said}");
}

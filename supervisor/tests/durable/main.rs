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
mod isolation;
mod keep;
mod protocol;
mod privacy;
mod cost;
mod frozen;
mod crashes;
mod escape;
mod disk;

/// The same where there are no cgroups.
#[test]
fn all_of_it_without_cgroups() {
    scenarios::sweep::all_of_it_once_more();
}

//! The journal of durable executions, on a disk in memory that fails, forgets and loses power, and on a real one.

#![cfg(test)]

#[path = "../../../fuzz/checks/journal.rs"]
mod checks;
mod claims;
mod crash;
mod damage;
mod disk;
mod faults;
mod full;
mod keep;
mod real;
mod script;
mod seeds;
mod versions;

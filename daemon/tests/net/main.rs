//! Sockets of all kinds, listened on and connected to, by this user and another one.
//!
//! Nothing here starts a process: until that executed its program, it would hold a copy of every socket that a scenario
//! beside it has just closed.

#![cfg(test)]

mod accept;
mod locality;
mod support;
mod tcp;
mod unix;

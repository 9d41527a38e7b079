//! What crosses crates: the real programs, driven from outside as their users do.

#![cfg(test)]

#[macro_use]
mod harness;

mod architecture;
mod attacks;
mod audit;
mod authority;
mod bad_input;
mod blocked_log;
mod calls;
mod connections;
mod contract;
mod dialing;
mod docs;
mod drain;
mod durable;
mod every_call;
mod gateway;
mod grpcurl;
mod interop;
mod isolation;
mod limits;
mod operate;
mod packaging;
mod parity;
mod peers;
mod policy;
mod places;
mod retry;
mod signals;
mod supervision;
mod tls;
mod unfinished;
mod users;

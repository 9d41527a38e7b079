//! remexd: runs commands for callers elsewhere and streams back what happens.
//!
//! The hops of a call, in the order of the modules: [`config`] and [`app`] set everything up; a connection is accepted and
//! its caller known in [`grpc`]; [`service`] turns messages into typed requests; [`execution`] keeps the records and
//! starts; [`process`] spawns; [`supervisor`] drives the execution to its last event. [`state_dir`] is what outlives it; [`id`] names
//! both, and [`proc`] is what the machine has to have.

pub mod app;
pub mod config;
pub mod execution;
pub mod grpc;
pub mod id;
pub mod proc;
pub mod process;
pub mod service;
pub mod state_dir;
pub mod supervisor;

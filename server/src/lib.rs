//! remexd: runs commands for callers elsewhere and streams back what happens.
//!
//! The hops of a call, in the order of the modules: [`config`] and [`app`] set everything up, its [`listeners`] too, unless one of the
//! [`tools`] was asked for, which may [`control`] the [`operation`] of another process; a connection is accepted in [`grpc`], and its
//! caller known by [`identity`]; [`policy`] says what that may do, [`audit`] tells what was decided, and [`traces`] how long it took, as what [`observed`] lets look on; [`service`] turns messages into typed requests;
//! [`execution`] keeps the records and starts; [`attached`] hosts the execution that [`remex_supervisor`] runs, to its last
//! event; [`durable`] keeps those that outlive this process. A [`budget`] is memory
//! that many share; [`state_dir`] is what outlives it, [`id`] names both, and [`proc`] is what the machine has to have.

pub mod tools;
pub mod control;
pub mod operation;
pub mod config;
pub mod app;
pub mod listeners;
pub mod identity;
pub mod policy;
pub mod audit;
pub mod grpc;
pub mod traces;
pub mod observed;
pub mod service;
pub mod execution;
pub mod attached;
pub mod durable;
pub mod budget;
pub mod state_dir;
pub mod id;
pub mod proc;

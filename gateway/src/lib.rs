//! The gateway of remex, and what its daemon shares with `remexd`.
//!
//! Hops of a legacy request: [`config`] (what a listener is) -> [`net`] (who connects) -> [`admission`] (whether it may) -> `stream` or
//! `datagram` (bytes) -> [`handler`] (the one place where it meets the services) -> [`body`] (the output) -> [`wire`] (how a reply is laid out).

pub mod admission;
pub mod body;
pub mod config;
pub mod daemon;
mod datagram;
mod exec;
mod gateway;
pub mod handler;
pub mod limits;
pub mod net;
mod shared;
mod stream;
pub mod wire;

pub use exec::CLIENT_ADDRESS_METADATA;
pub use gateway::{Bound, Gateway};

//! The gateway of remex: clients of the old raw-socket protocol, and UDP clients, run their commands through the tonic services.
//!
//! Hops of a legacy request: [`config`] (what a listener is) -> [`remex_daemon`] (who connects, whether it may) -> `stream` or
//! `datagram` (bytes) -> [`handler`] (the one place where it meets the services) -> [`body`] (the output) -> [`wire`] (how a reply is laid out).

#![forbid(unsafe_code)]

pub mod body;
mod bound;
mod call;
pub mod config;
pub mod counts;
pub mod datagram;
mod exec;
mod gateway;
pub mod handler;
pub mod limits;
mod shared;
mod stream;
pub mod wire;

pub use bound::Bound;
pub use call::CLIENT_ADDRESS_METADATA;
pub use gateway::{Gateway, GatewayListeners, LegacyRefusalObserver, Renewal, Unbound};

//! The Rust client of remex: runs commands on another machine, over gRPC.
//!
//! In the order in which a call goes: an [`Endpoint`] says where, a [`Client`] holds the connection and makes the calls.

mod backoff;
mod client;
mod dial;
mod endpoint;
mod greeting;
mod transport;

pub use client::{Channel, Client, MAX_REPLY_BYTES};
pub use dial::{CONNECT_TIMEOUT, ConnectError};
pub use endpoint::{DEFAULT_PORT, Endpoint, EndpointError};
pub use tower::BoxError;

//! The way to a server: tonic's channels over connections of ours.
//!
//! Hops of a call: [`pool`] finds a connection with room for it, [`call`] watches over it on tonic's `Channel`. Hops of a
//! connection, where there is none: [`connector`] (not too soon after a failure), [`dial`] (a socket, by `crate::net`),
//! [`tls`] over it if the address says so, [`greeting`] (the peer speaks HTTP/2).

mod backoff;
mod call;
mod connector;
mod deadline;
mod dial;
mod error;
mod greeting;
mod pool;
mod tls;
#[cfg(test)]
mod tests;

pub use dial::CONNECT_TIMEOUT;
pub use error::{ConnectError, never_ran};
pub use pool::{MAX_CALLS_PER_CONNECTION, MAX_CONNECTIONS, STREAM_WINDOW_BYTES};

pub(crate) use {backoff::pause as pause_after_failures, pool::Pool};

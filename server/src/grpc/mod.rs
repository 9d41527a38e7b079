//! gRPC over HTTP/2: from an accepted connection to the services.
//!
//! Hops: `remex_daemon::net::Acceptor` (permit, peer) -> [`connection`] (preface, HTTP/2, caller admitted or refused)
//! -> [`routes`] (which service) -> `crate::service`.

pub mod connection;
mod preface;
pub mod routes;

pub use connection::Server;
pub use preface::PREFACE_TIMEOUT;

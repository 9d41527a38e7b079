//! gRPC over HTTP/2: from an accepted connection to the services.
//!
//! Hops: `remex_daemon::net::Acceptor` (permit, peer) -> [`connection`] (preface, HTTP/2, caller admitted or refused)
//! -> `gate` (whether it is a call) -> `deadline` -> [`routes`] (which service) -> `crate::service`.

pub(crate) mod codec;
pub mod connection;
mod deadline;
mod gate;
mod preface;
mod request;
pub mod routes;

pub use connection::Server;
pub use preface::PREFACE_TIMEOUT;

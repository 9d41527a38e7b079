//! gRPC over HTTP/2: from an accepted connection to the services.
//!
//! Hops: `remex_daemon::net::Acceptor` (permit, peer) -> [`connection`] (peer admitted, or shown into [`refused`]; TLS by
//! [`handshake`]; preface, HTTP/2) -> `fairness` (its turn) -> `gate` (whether it is a call) -> [`crate::identity`] (who makes
//! it, until [`revocation`]) -> `deadline` -> [`budget`] (what its request may take) -> [`routes`] (which
//! service) -> `crate::service` -> [`unsent`] (what waits of its response), [`counts`] (what it came to, for metrics).

pub mod connection;
pub mod peers;
pub mod refused;
pub mod counts;
pub mod handshake;
mod stream;
mod preface;
pub mod authority;
mod calls;
mod fairness;
mod gate;
mod deadline;
pub mod revocation;
mod until;
pub mod budget;
mod message;
mod request;
pub(crate) mod codec;
pub mod routes;
#[cfg(test)]
mod testing;
pub mod unsent;

use http::{HeaderValue, Response};
use remex::{VERSION, VERSION_HEADER};

pub use calls::{GOING, MAX_IDLE};
pub use connection::Server;
pub use preface::PREFACE_TIMEOUT;

/// Every response says which version it is of.
fn with_version<B>(mut response: Response<B>) -> Response<B> {
    let version = HeaderValue::from_static(VERSION);
    response.headers_mut().insert(VERSION_HEADER, version);
    response
}

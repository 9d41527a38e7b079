//! Callers over TLS: whom certificates and tokens let in, whom they do not, and that nobody stops it for the others.

mod certificates;
mod gateway;
mod hostile;
pub(crate) mod jwt;
mod remote;
mod rotation;
pub(crate) mod site;
mod start;
pub(crate) mod stream;
pub(crate) mod tokens;
mod tools;

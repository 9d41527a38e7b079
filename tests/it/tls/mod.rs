//! Callers over TLS: whom certificates and tokens let in, whom they do not, and that nobody stops it for the others.

mod certificates;
mod gateway;
mod hostile;
mod jwt;
mod remote;
mod rotation;
mod site;
mod start;
pub(crate) mod tokens;
mod tools;

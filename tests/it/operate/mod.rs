//! What whoever operates the daemons sees of them, and asks of them.

mod control;
mod doctor;
mod gateway;
mod journal;
mod metrics;
mod prometheus;
mod reload;
pub(crate) mod scraper;
mod sockets;
mod upgrade;

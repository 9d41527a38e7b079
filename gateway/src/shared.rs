//! What every listener of a gateway shares.

use std::{net::SocketAddr, sync::Arc};

use remex_daemon::admission::{Addresses, Rates};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::handler::Handler;

/// What every listener of a gateway shares.
pub(crate) struct Shared {
    pub(crate) handler: Handler,
    pub(crate) addresses: Addresses,
    pub(crate) rates: Rates,
    pub(crate) datagrams: Arc<Semaphore>,
    pub(crate) udp_listeners: Vec<SocketAddr>,
    pub(crate) tasks: TaskTracker,
    /// No more connections and commands; what runs, runs to its end.
    pub(crate) stop: CancellationToken,
    /// The end of everything.
    pub(crate) kill: CancellationToken,
}

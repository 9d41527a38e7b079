//! What every listener of a gateway shares.

use std::{net::SocketAddr, sync::Arc};

use remex_daemon::admission::{Addresses, Rates};
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What every listener of a gateway shares.
pub(crate) struct Shared {
    pub(crate) addresses: Addresses,
    pub(crate) rates: Rates,
    /// Room for datagrams that are commands.
    pub(crate) datagram_commands: Arc<Semaphore>,
    /// Room for all others, which are answered at once.
    pub(crate) datagrams: Arc<Semaphore>,
    /// Room for peers that may not, and are told so.
    pub(crate) denied: Arc<Semaphore>,
    /// Where datagrams are received, as it is at each time.
    pub(crate) udp_listeners: watch::Sender<Vec<SocketAddr>>,
    pub(crate) tasks: TaskTracker,
    /// No more connections and commands; what runs, runs to its end.
    pub(crate) stop: CancellationToken,
    /// The end of everything.
    pub(crate) kill: CancellationToken,
}

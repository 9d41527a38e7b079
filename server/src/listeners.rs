//! Everything that remexd listens on, as it is replaced while it serves: all of it or nothing.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use remex_daemon::{
    Handover, ReadyFile, descriptors,
    metrics::{MetricsEndpoint, MetricsRenewal},
    net::{
        AcceptLimits, Acceptor, Address, BindError, BoundAddress, HandedSockets, ListeningSocket,
    },
};
use remex_gateway::{Bound, GatewayListeners, Renewal, config::Legacy};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    grpc::{self, connection::MAX_CONNECTIONS},
};

/// An address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: {source}")]
pub struct NoListener {
    /// The flag that names another.
    flag: &'static str,
    source: BindError,
}

impl NoListener {
    fn of(flag: &'static str) -> impl FnOnce(BindError) -> Self {
        move |source| Self { flag, source }
    }
}

/// The listeners.
pub struct Listeners {
    server: grpc::Server,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Of connections of gRPC, over all listeners.
    permits: Arc<Semaphore>,
    /// How many of them there are.
    connections: usize,
    grpc: Mutex<Vec<Arc<Served>>>,
    legacy: GatewayListeners,
    metrics: MetricsEndpoint,
    handed: Arc<HandedSockets>,
}

/// A listener of gRPC that is served until it is to stop; then its connections are asked to finish.
#[derive(Debug)]
struct Served {
    asked: Address,
    socket: ListeningSocket,
    stop: CancellationToken,
}

/// What takes the place of the listeners that are served.
pub struct ListenersRenewal {
    grpc: Vec<Entry>,
    legacy: Renewal,
    metrics: MetricsRenewal,
    is_tls: bool,
    is_as_asked: bool,
}

enum Entry {
    Kept(Arc<Served>),
    New(Address, ListeningSocket),
}

impl Entry {
    fn local(&self) -> &BoundAddress {
        match self {
            Self::Kept(served) => served.socket.local(),
            Self::New(_, socket) => socket.local(),
        }
    }
}

impl ListenersRenewal {
    /// Where gRPC is served, in order.
    pub fn grpc(&self) -> impl Iterator<Item = &BoundAddress> {
        self.grpc.iter().map(Entry::local)
    }

    /// Where everything listens.
    pub fn ready(&self) -> ReadyFile {
        let mut ready = ReadyFile::default();
        for local in self.grpc() {
            ready.grpc(local, self.is_tls);
        }
        for bound in self.legacy.bound() {
            ready.legacy(bound.listener().name(), bound.local());
        }
        if let Some(url) = self.metrics.url() {
            ready.metrics(&url);
        }
        ready
    }

    /// Whether each socket is as it was asked for: the permissions of a Unix socket stay as they were when it was bound.
    pub fn is_as_asked(&self) -> bool {
        self.is_as_asked && self.legacy.is_as_asked()
    }
}

impl Listeners {
    /// None yet. Those of gRPC are served by `server`; tasks are tracked by `tasks`, and end with `stop`. Sockets that were
    /// `handed` over are not bound again.
    pub fn new(
        server: grpc::Server,
        legacy: GatewayListeners,
        metrics: MetricsEndpoint,
        handed: Arc<HandedSockets>,
        (tasks, stop): (TaskTracker, CancellationToken),
    ) -> Self {
        let limits = AcceptLimits {
            connections: descriptors::share(MAX_CONNECTIONS),
        };
        Self {
            server,
            tasks,
            stop,
            permits: limits.permits(),
            connections: limits.connections,
            grpc: Mutex::default(),
            legacy,
            metrics,
            handed,
        }
    }

    /// Binds what of `config` is not bound yet. Nothing changes by it. With `anew`, connections over TCP that there are will be
    /// asked to go, since who is let in there has changed.
    pub fn prepare(&self, config: &Config, anew: bool) -> Result<ListenersRenewal, NoListener> {
        let mut served = self.served().clone();
        let addresses = self.addresses();
        let mut is_as_asked = true;
        let mut grpc = Vec::new();
        for (index, asked) in config.listen.iter().enumerate() {
            let kept = served
                .iter()
                .position(|one| one.asked.is_same_socket(asked));
            let entry = if let Some(kept) = kept.map(|index| served.remove(index)) {
                is_as_asked &= kept.asked == *asked;
                if anew && matches!(asked, Address::Tcp(_)) {
                    Entry::New(asked.clone(), kept.socket.clone())
                } else {
                    Entry::Kept(kept)
                }
            } else {
                let ipv6 = config.ipv6.listen.get(index);
                let bound = or_ipv6(self.bind(asked), ipv6, |instead| self.bind(instead));
                let bound = bound.map_err(|error| error.beside(&addresses));
                let socket = bound.map_err(NoListener::of("--listen"))?;
                Entry::New(asked.clone(), socket)
            };
            grpc.push(entry);
        }
        let legacy = self.prepare_legacy(config, &addresses)?;
        let bind = |address: &Address| {
            let bound = self.handed.listen("metrics", address);
            bound.map_err(|error| error.beside(&addresses))
        };
        let metrics = self.metrics.prepare(config.metrics.as_ref(), bind);
        Ok(ListenersRenewal {
            grpc,
            legacy,
            metrics: metrics.map_err(NoListener::of("--metrics"))?,
            is_tls: config.trust.tls.is_some(),
            is_as_asked,
        })
    }

    fn prepare_legacy(
        &self,
        config: &Config,
        addresses: &[Address],
    ) -> Result<Renewal, NoListener> {
        let bind = |legacy: &Legacy| Bound::bind(legacy.clone(), &self.handed);
        let bind = |index: usize, legacy: Legacy| {
            let bound = or_ipv6(bind(&legacy), config.ipv6.legacy.get(index), bind);
            bound.map_err(|error| error.beside(addresses))
        };
        let renewal = self.legacy.prepare(config.legacy.clone(), bind);
        renewal.map_err(|error| NoListener::of("--legacy")(error.why()))
    }

    fn bind(&self, address: &Address) -> Result<ListeningSocket, BindError> {
        let listener = self.handed.listen("listen", address)?;
        ListeningSocket::new(listener).map_err(|source| BindError::Io {
            address: address.clone(),
            source,
        })
    }

    /// Serves what is in `renewal`, and nothing else any more.
    pub fn renew(&self, renewal: ListenersRenewal) {
        let renewed: Vec<_> = renewal
            .grpc
            .into_iter()
            .map(|entry| match entry {
                Entry::Kept(served) => served,
                Entry::New(asked, socket) => self.serve(asked, socket),
            })
            .collect();
        let mut served = self.served();
        for old in served.iter() {
            if !renewed.iter().any(|one| Arc::ptr_eq(one, old)) {
                old.stop.cancel();
            }
        }
        *served = renewed;
        drop(served);
        self.legacy.renew(renewal.legacy);
        self.metrics.renew(renewal.metrics);
    }

    /// Leaves every socket to the program that is executed next in this process.
    pub fn hand_over(&self, to: &mut Handover) -> io::Result<()> {
        let served = self.served();
        served
            .iter()
            .try_for_each(|one| one.socket.hand_over("listen", to))?;
        self.legacy.hand_over(to)?;
        self.metrics.hand_over(to)
    }

    /// Takes no more connections of gRPC, asks those that there are to finish, and returns when they have.
    pub async fn finish(&self) {
        for served in self.served().iter() {
            served.stop.cancel();
        }
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        let _ = self.permits.acquire_many(all).await;
    }

    /// What was handed over.
    pub fn handed(&self) -> &HandedSockets {
        &self.handed
    }

    /// Takes no more connections of gRPC; the sockets go with those that serve them.
    pub fn close(&self) {
        self.served().clear();
    }

    fn serve(&self, asked: Address, socket: ListeningSocket) -> Arc<Served> {
        let stop = self.stop.child_token();
        let acceptor = Acceptor::of(socket.clone(), Arc::clone(&self.permits));
        let server = self.server.clone();
        self.tasks.spawn(server.serve(acceptor, stop.clone()));
        Arc::new(Served {
            asked,
            socket,
            stop,
        })
    }

    fn served(&self) -> MutexGuard<'_, Vec<Arc<Served>>> {
        self.grpc.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is listened on by gRPC and the old protocol, as it was asked for.
    fn addresses(&self) -> Vec<Address> {
        let served = self.served();
        let grpc = served.iter().map(|one| one.asked.clone());
        grpc.chain(self.legacy.addresses()).collect()
    }
}

/// What is `bound`; or, on a machine without IPv4, what `bind` makes of `instead`.
fn or_ipv6<A, T>(
    bound: Result<T, BindError>,
    instead: Option<&A>,
    bind: impl FnOnce(&A) -> Result<T, BindError>,
) -> Result<T, BindError> {
    match (bound, instead) {
        // What was tried first is what is reported.
        (Err(error), Some(instead)) if error.lacks_ipv4() => bind(instead).map_err(|_| error),
        (bound, _) => bound,
    }
}

//! The gateway: listeners that are bound, the services behind a client, one shutdown.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use remex_client::Client;
use remex_daemon::{
    Handover,
    admission::{Access, Addresses, Rates, Refused},
    net::{Acceptor, Address, BindError, BoundAddress},
};
use tokio::{
    select,
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    body::Spool,
    bound::{Bound, BoundSocket},
    config::{Kind, Legacy},
    counts::GatewayCounts,
    datagram,
    handler::Handler,
    limits::Limits,
    shared::Shared,
    stream,
};

/// Is told whom a listener refuses, of what kind that is, and why; the listener by what it serves, `tcp-exec`.
pub type LegacyRefusalObserver =
    dyn Fn(&'static str, Refused, &dyn fmt::Display, &dyn fmt::Display) + Send + Sync;

/// Serves legacy listeners.
pub struct Gateway {
    listeners: GatewayListeners,
    spool_folder: PathBuf,
    _kill: DropGuard,
}

impl Gateway {
    /// One that answers by what `client` calls, and spools long replies in `spool_folder`. It has no listeners yet.
    pub fn new(client: Client, limits: Limits, spool_folder: PathBuf) -> Self {
        let permits = Arc::new(Semaphore::new(limits.connections));
        let shared = Arc::new(Shared {
            addresses: Addresses::new(limits.connections_per_address),
            rates: Rates::new(
                limits.datagrams_per_source,
                limits.datagrams_per_second,
                limits.sources,
            ),
            datagram_commands: Arc::new(Semaphore::new(limits.datagram_commands)),
            datagrams: Arc::new(Semaphore::new(limits.datagrams_in_flight)),
            denied: Arc::new(Semaphore::new(limits.denied_connections)),
            udp_listeners: watch::Sender::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        });
        let spool = Spool::new(spool_folder.clone(), limits.spool_bytes);
        Self {
            _kill: shared.kill.clone().drop_guard(),
            listeners: GatewayListeners(Arc::new(Inner {
                handler: Handler::new(client, limits, spool),
                permits,
                shared,
                served: Mutex::default(),
                counts: GatewayCounts::default(),
                observer: OnceLock::new(),
            })),
            spool_folder,
        }
    }

    /// What its listeners count.
    pub fn counts(&self) -> GatewayCounts {
        self.listeners.0.counts.clone()
    }

    /// Its listeners, none at first, which can be replaced while it serves.
    pub fn listeners(&self) -> GatewayListeners {
        self.listeners.clone()
    }

    /// Has `observer` told what each listener refuses that is served from now on. There is one at most: a second one is told
    /// nothing.
    pub fn observe_refusals(&self, observer: Box<LegacyRefusalObserver>) {
        let _ = self.listeners.0.observer.set(observer.into());
    }

    /// As [`Self::serve`], but what still runs when `drain`, asked for at `stop`, is over is cut off.
    pub async fn serve_within(self, stop: CancellationToken, drain: impl FnOnce() -> Duration) {
        let too_long = async {
            stop.cancelled().await;
            let drain = drain();
            sleep(drain).await;
            drain
        };
        select! {
            () = self.serve(stop.clone()) => {}
            drain = too_long => {
                tracing::warn!("what still runs after {drain:?} is cut off");
            }
        }
    }

    /// Serves until `stop`, then until what runs has ended. Dropping the future resets what is left, and kills its
    /// commands.
    pub async fn serve(self, stop: CancellationToken) {
        let GatewayListeners(inner) = &self.listeners;
        if let Err(error) = Spool::check(&self.spool_folder) {
            tracing::warn!(
                folder = %self.spool_folder.display(), %error,
                "replies that are too long for memory will be cut: their folder takes nothing; see --spool-dir"
            );
        }
        stop.cancelled().await;
        inner.shared.stop.cancel();
        // The sockets go with those that serve them.
        inner.lock().clear();
        inner.shared.tasks.close();
        inner.shared.tasks.wait().await;
    }
}

/// The listeners of a gateway. Clones are the same.
#[derive(Clone)]
pub struct GatewayListeners(Arc<Inner>);

struct Inner {
    handler: Handler,
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
    served: Mutex<Vec<Arc<Served>>>,
    counts: GatewayCounts,
    /// Of every listener, those that come later too.
    observer: OnceLock<Arc<LegacyRefusalObserver>>,
}

/// A listener that is served.
struct Served {
    bound: Bound,
    /// Cancelled when another one takes its place: it leaves what comes to that, and serves the connections that it has.
    accepting: CancellationToken,
    socket: ServedSocket,
}

/// What a listener shares with those that are in its place later.
#[derive(Clone)]
struct ServedSocket {
    /// Cancelled when nothing is served here any more: connections end with what they are at, and what runs, runs to its end.
    stop: CancellationToken,
    access: watch::Sender<Access>,
}

/// A listener cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {source}")]
pub struct Unbound {
    url: String,
    source: Box<BindError>,
}

impl Unbound {
    /// Why not.
    pub fn why(self) -> BindError {
        *self.source
    }
}

/// Listeners that are bound, to take the place of those that are served.
pub struct Renewal(Vec<Entry>);

enum Entry {
    /// As it is.
    Kept(Arc<Served>),
    /// On the socket of the one.
    InPlaceOf(Arc<Served>, Bound),
    New(Bound),
}

impl Entry {
    fn bound(&self) -> &Bound {
        match self {
            Self::Kept(served) => &served.bound,
            Self::InPlaceOf(_, bound) | Self::New(bound) => bound,
        }
    }
}

impl From<Vec<Bound>> for Renewal {
    fn from(bound: Vec<Bound>) -> Self {
        Self(bound.into_iter().map(Entry::New).collect())
    }
}

impl Renewal {
    /// Each listener, in order.
    pub fn bound(&self) -> impl Iterator<Item = &Bound> {
        self.0.iter().map(Entry::bound)
    }

    /// Whether each socket is as it was asked for: the permissions of a Unix socket stay as they were when it was bound.
    pub fn is_as_asked(&self) -> bool {
        self.bound().all(Bound::is_as_asked)
    }
}

impl GatewayListeners {
    /// Binds what of `legacy` is not bound yet, by `bind`, which is told its index. Nothing changes by it; what is wrong is
    /// said with the listener that it is about.
    pub fn prepare(
        &self,
        legacy: Vec<Legacy>,
        bind: impl Fn(usize, Legacy) -> Result<Bound, BindError>,
    ) -> Result<Renewal, Unbound> {
        let mut served = self.0.lock().clone();
        let mut take = |fits: &dyn Fn(&Bound) -> bool| {
            let found = served.iter().position(|one| fits(&one.bound))?;
            Some(served.remove(found))
        };
        // Those that stay first, so that of several at port 0 none takes another's socket.
        let kept: Vec<_> = legacy
            .iter()
            .map(|one| take(&|bound| bound.is(one)))
            .collect();
        let entries = legacy.into_iter().zip(kept).enumerate();
        let entries = entries.map(|(index, (legacy, kept))| {
            if let Some(kept) = kept {
                return Ok(Entry::Kept(kept));
            }
            if let Some(other) = take(&|bound| bound.has_socket_of(&legacy)) {
                let bound = other.bound.with(legacy);
                return Ok(Entry::InPlaceOf(other, bound));
            }
            let url = legacy.listener.url();
            let bound = bind(index, legacy).map_err(Box::new);
            bound
                .map(Entry::New)
                .map_err(|source| Unbound { url, source })
        });
        entries.collect::<Result<_, _>>().map(Renewal)
    }

    /// Serves what is in `renewal`, and nothing else any more.
    pub fn renew(&self, renewal: Renewal) {
        let mut served = self.0.lock();
        let bound: Vec<_> = renewal.bound().cloned().collect();
        self.0.counts.set(&bound);
        let udp = bound.iter().filter_map(|bound| match bound.local() {
            BoundAddress::Udp(address) => Some(*address),
            BoundAddress::Tcp(_) | BoundAddress::Unix(_) => None,
        });
        self.0.shared.udp_listeners.send_replace(udp.collect());
        let renewed: Vec<_> = renewal
            .0
            .into_iter()
            .map(|entry| match entry {
                Entry::Kept(served) => served,
                Entry::InPlaceOf(old, bound) => {
                    old.accepting.cancel();
                    // Whoever is connected and may not be any more goes.
                    old.socket.access.send_replace(bound.access());
                    Arc::new(self.0.serve(bound, old.socket.clone()))
                }
                Entry::New(bound) => {
                    let socket = ServedSocket {
                        stop: self.0.shared.stop.child_token(),
                        access: watch::Sender::new(bound.access()),
                    };
                    Arc::new(self.0.serve(bound, socket))
                }
            })
            .collect();
        let goes_on = |old: &Served| {
            let local = old.bound.local();
            renewed.iter().any(|one| one.bound.local() == local)
        };
        for old in served.iter().filter(|old| !goes_on(old)) {
            old.socket.stop.cancel();
        }
        *served = renewed;
    }

    /// Leaves every socket to the program that is executed next in this process.
    pub fn hand_over(&self, to: &mut Handover) -> io::Result<()> {
        self.0
            .lock()
            .iter()
            .try_for_each(|one| one.bound.hand_over(to))
    }

    /// What is listened on, as it was asked for.
    pub fn addresses(&self) -> Vec<Address> {
        let served = self.0.lock();
        served.iter().map(|one| one.bound.asked().clone()).collect()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Served>>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what `bound` refuses told. What goes on with the counts of another one is told of by that one's observer already.
    fn observe(&self, bound: &Bound) {
        let Some(observer) = self.observer.get() else {
            return;
        };
        let (name, observer) = (bound.listener().name(), Arc::clone(observer));
        let told = move |refused, peer: &dyn fmt::Display, why: &dyn fmt::Display| {
            observer(name, refused, peer, why);
        };
        bound.counts().refusals.observe(Box::new(told));
    }

    fn serve(&self, bound: Bound, served: ServedSocket) -> Served {
        self.observe(&bound);
        let (name, access) = (bound.listener().name(), served.access.subscribe());
        let handler = self.handler.counting(Arc::clone(bound.counts()));
        let shared = Arc::clone(&self.shared);
        let accepting = served.stop.child_token();
        let tasks = &self.shared.tasks;
        match (bound.socket(), bound.listener().kind.clone()) {
            (BoundSocket::Stream(socket), Kind::Stream { service, .. }) => {
                let acceptor = Acceptor::of(socket.clone(), Arc::clone(&self.permits));
                let service = stream::Service {
                    name,
                    access,
                    kind: service,
                    handler,
                    accepting: accepting.clone(),
                    stop: served.stop.clone(),
                    shared: Arc::clone(&shared),
                };
                let serving = service.serve(acceptor, Arc::clone(&self.permits));
                tasks.spawn(killable(shared, serving));
            }
            (BoundSocket::Datagram(socket, local), Kind::Datagram { service, .. }) => {
                let service = datagram::Service {
                    name,
                    access,
                    kind: service,
                    handler,
                    socket: Arc::clone(socket),
                    local: *local,
                    accepting: accepting.clone(),
                    shared: Arc::clone(&shared),
                };
                tasks.spawn(killable(shared, service.serve()));
            }
            // A socket is that of its own kind of listener, or of another one of that kind.
            (BoundSocket::Stream(_), Kind::Datagram { .. })
            | (BoundSocket::Datagram(..), Kind::Stream { .. }) => {}
        }
        Served {
            bound,
            accepting,
            socket: served,
        }
    }
}

async fn killable(shared: Arc<Shared>, serving: impl Future<Output = ()>) {
    select! {
        biased;
        () = shared.kill.cancelled() => {}
        () = serving => {}
    }
}

//! `remex-gateway` from a checked configuration to its exit: bind, serve, reload, drain.

use std::{
    fmt::Display,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use remex_client::Client;
use remex_daemon::{
    DaemonExit, Differences, ReadyFile, Reloadable, console, descriptors, logging,
    metrics::{Metrics, MetricsEndpoint, MetricsRenewal},
    net::{Address, HandedSockets},
    notify::{self, Reloading},
    shutdown::Shutdown,
};
use remex_gateway::{
    Bound, Gateway, GatewayListeners, Renewal,
    config::{Args, Config, Legacy},
    limits::Limits,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::{block_in_place, spawn_blocking},
};
use tokio_util::task::TaskTracker;

/// What descriptors that are handed over are named after.
const KEYS: [&str; 2] = ["legacy", "metrics"];

/// Said of the permissions of a socket that stays.
const SOCKET_MODE: &str = "mode and group of a Unix socket that is served already";

/// It cannot serve: a port, a socket or a file cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(String);

impl From<&Unavailable> for DaemonExit {
    fn from(_: &Unavailable) -> Self {
        Self::Unavailable
    }
}

fn unavailable(error: impl Display) -> Unavailable {
    Unavailable(error.to_string())
}

/// Serves as `config` says until `shutdown` asks to stop, and then until the drain is over.
pub(crate) async fn run(
    args: Args,
    config: Config,
    handed: HandedSockets,
    shutdown: Shutdown,
) -> Result<(), Unavailable> {
    // From before anybody is told that it serves, and may ask for it.
    let hangups = shutdown.reload();
    if let Some(path) = &config.ready_file {
        ReadyFile::clear(path).map_err(unavailable)?;
    }
    let client =
        Client::connect_lazy_with(&config.upstream, &config.credentials).map_err(unavailable)?;
    // No command inherits what it is raised to.
    descriptors::raise();
    let mut limits = Limits::default();
    limits.connections = descriptors::share(limits.connections);
    let gateway = Gateway::new(client, limits, config.spool_folder.clone());
    let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    metrics.add(gateway.counts());
    let tasks = TaskTracker::new();
    let standing = Arc::new(Standing {
        args,
        listeners: gateway.listeners(),
        metrics: MetricsEndpoint::new(metrics, tasks.clone(), shutdown.now().clone()),
        handed,
        shutdown: shutdown.clone(),
        drain_timeout: watch::Sender::new(config.drain_timeout),
        ready: Mutex::default(),
        last: AsyncMutex::new(reloadable(&config)),
        started: reloadable(&config),
        config,
    });
    let renewal = standing.prepare(&standing.config)?;
    standing.handed.are_taken(&KEYS).map_err(unavailable)?;
    let ready = renewal.ready();
    standing.renew(renewal);
    console::print(ready.to_string()).map_err(unavailable)?;
    if let Some(path) = &standing.config.ready_file {
        ready.write(path).map_err(unavailable)?;
    }
    *standing
        .ready
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = ready;
    notify::ready();
    tasks.spawn(Arc::clone(&standing).reload_on_hangup(hangups));
    let drain_timeout = || *standing.drain_timeout.borrow();
    tokio::select! {
        () = gateway.serve_within(shutdown.drain().clone(), drain_timeout) => {}
        () = look(&standing.config) => {}
        // Dropped, the gateway resets its clients, and kills their commands.
        () = shutdown.now().cancelled() => {}
    }
    Ok(())
}

/// Says once if the server is not there; never returns.
async fn look(config: &Config) {
    let upstream = &config.upstream;
    if let Err(error) = Client::connect_with(upstream, &config.credentials).await {
        tracing::warn!(%upstream, %error, "the server is away; commands are refused until it is back");
    }
    pending::<()>().await;
}

/// `config`, key by key.
fn reloadable(config: &Config) -> Reloadable {
    Reloadable::default()
        .live("legacy, users", &config.legacy)
        .live("metrics", &config.metrics)
        .live("log-level", &config.log_level)
        .live("drain-timeout", &config.drain_timeout)
        .fixed("upstream", &config.upstream)
        .fixed("ca, cert, key, token-file", &config.credentials)
        .fixed("spool-dir", &config.spool_folder)
        .fixed("ready-file", &config.ready_file)
        .fixed("log-format", &config.log_format)
}

/// The gateway that serves, as far as it can be changed.
struct Standing {
    args: Args,
    /// What it was started with.
    config: Config,
    listeners: GatewayListeners,
    metrics: MetricsEndpoint,
    handed: HandedSockets,
    shutdown: Shutdown,
    drain_timeout: watch::Sender<Duration>,
    ready: Mutex<ReadyFile>,
    last: AsyncMutex<Reloadable>,
    started: Reloadable,
}

/// What takes the place of what is listened on.
struct StandingRenewal {
    legacy: Renewal,
    metrics: MetricsRenewal,
}

impl StandingRenewal {
    fn ready(&self) -> ReadyFile {
        let mut ready = ReadyFile::default();
        for bound in self.legacy.bound() {
            ready.legacy(bound.listener().name(), bound.local());
        }
        if let Some(url) = self.metrics.url() {
            ready.metrics(&url);
        }
        ready
    }
}

impl Standing {
    /// Binds what of `config` is not bound yet. Nothing changes by it.
    fn prepare(&self, config: &Config) -> Result<StandingRenewal, Unavailable> {
        let addresses = self.listeners.addresses();
        let bind = |_, legacy: Legacy| {
            Bound::bind(legacy, &self.handed).map_err(|error| error.beside(&addresses))
        };
        let legacy = self.listeners.prepare(config.legacy.clone(), bind);
        let legacy = legacy.map_err(|error| unavailable(format!("--legacy {error}")))?;
        let bind = |address: &Address| {
            let bound = self.handed.listen("metrics", address);
            bound.map_err(|error| error.beside(&addresses))
        };
        let metrics = self.metrics.prepare(config.metrics.as_ref(), bind);
        let metrics = metrics.map_err(|error| unavailable(format!("--metrics: {error}")))?;
        Ok(StandingRenewal { legacy, metrics })
    }

    fn renew(&self, renewal: StandingRenewal) {
        self.listeners.renew(renewal.legacy);
        self.metrics.renew(renewal.metrics);
    }

    /// Reads the configuration again whenever SIGHUP asks, which changes `hangups`, until the drain.
    async fn reload_on_hangup(self: Arc<Self>, mut hangups: watch::Receiver<u64>) {
        loop {
            tokio::select! {
                () = self.shutdown.drain().cancelled() => return,
                Ok(()) = hangups.changed() => {}
            }
            match self.reload().await {
                Ok(Differences {
                    changed,
                    needs_restart,
                }) => {
                    tracing::info!(?changed, ?needs_restart, "the configuration was read again");
                }
                Err(why) => tracing::error!(%why, "not reloaded: what held before still does"),
            }
        }
    }

    /// All of the configuration or nothing.
    async fn reload(&self) -> Result<Differences, Unavailable> {
        let mut last = self.last.lock().await;
        let _reloading = Reloading::begin().await;
        let args = self.args.clone();
        // A file may be on a disk that does not answer.
        let config = spawn_blocking(move || Config::load(&args)).await;
        let config = config.map_err(unavailable)?.map_err(unavailable)?;
        let renewal = block_in_place(|| self.prepare(&config))?;
        logging::set_level(config.log_level).map_err(unavailable)?;

        // From here on nothing fails.
        let settings = reloadable(&config);
        let mut differences = last.differences(&settings, &self.started);
        if !renewal.legacy.is_as_asked() {
            differences.needs_restart.push(SOCKET_MODE.to_owned());
        }
        *last = settings;
        self.drain_timeout.send_replace(config.drain_timeout);
        let ready = renewal.ready();
        self.renew(renewal);
        self.tell(ready);
        Ok(differences)
    }

    /// Says where it listens now.
    fn tell(&self, ready: ReadyFile) {
        let mut last = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == ready {
            return;
        }
        if let Some(path) = &self.config.ready_file
            && let Err(error) = ready.write(path)
        {
            tracing::error!(%error, "--ready-file: what it says is what was before the reload");
        }
        *last = ready;
    }
}

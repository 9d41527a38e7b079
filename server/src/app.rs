//! remexd from a checked configuration to its exit: open what it needs, bind, serve, drain.

use std::{fs::File, sync::Arc, time::Duration};

use remex_client::Client;
use remex_daemon::{
    DaemonExit, ReadyError, ReadyFile, console, descriptors,
    handover::LOCK,
    metrics::{Metrics, MetricsEndpoint},
    net::{BoundAddress, HandedError, HandedSockets, KEYS, Users},
    notify,
    shutdown::Shutdown,
};
use remex_gateway::{Gateway, limits::Limits};
use remex_supervisor::{
    lifecycle::{ending::KILL_BOUND, outcome::Cause},
    process::{self, Prepared, Spawner},
};
use tokio::{
    sync::watch,
    task::{JoinHandle, block_in_place},
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use crate::{
    config::{Args, Config},
    control::ControlListener,
    durable::DurableSettings,
    execution::{Executions, Measured},
    grpc::{self, counts::RefusedConnections, routes},
    listeners::{Listeners, NoListener},
    operation::{OperatedDaemon, Parts, Upgrade},
    policy::{counts::PolicyCounts, gate::PolicyGate},
    proc::{self, NoProc},
    service::exec::ExecHandler,
    state_dir::{self, StateDir, StateDirError},
};

/// How often what ended commands left running is looked after.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Open connections are given this long to take their last messages.
const GOODBYE: Duration = Duration::from_secs(2);

/// What the second signal kills is waited for this long; then remexd ends, within a second of the signal. [`KILL_BOUND`], which
/// gives a tree up that the kernel holds, would use that up alone.
const KILL_NOW: Duration = Duration::from_millis(600);

/// remexd cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// What the machine lacks.
    #[error(transparent)]
    Proc(#[from] NoProc),
    /// The state folder.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// An address.
    #[error(transparent)]
    Listener(#[from] NoListener),
    /// A socket that was handed over.
    #[error(transparent)]
    Handed(#[from] HandedError),
    /// The ready file.
    #[error("--ready-file: {0}")]
    Ready(#[from] ReadyError),
    /// The machine, or remexd itself.
    #[error("{what}: {source}")]
    Internal {
        /// What was tried.
        what: &'static str,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<&AppError> for DaemonExit {
    fn from(error: &AppError) -> Self {
        match error {
            AppError::Proc(_)
            | AppError::StateDir(_)
            | AppError::Listener(_)
            | AppError::Handed(_)
            | AppError::Ready(_) => Self::Unavailable,
            AppError::Internal { .. } => Self::Internal,
        }
    }
}

fn internal<E>(what: &'static str) -> impl FnOnce(E) -> AppError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| AppError::Internal {
        what,
        source: source.into(),
    }
}

/// What a process has before it reads any configuration.
#[derive(Debug)]
pub struct Beginning {
    /// To be executed again as the zygote.
    pub prepared: Prepared,
    /// The sockets that it was started with.
    pub handed: Arc<HandedSockets>,
    /// What is executed in its place.
    pub upgrade: Upgrade,
}

/// Serves as `config` says until `shutdown` asks to stop, and then until the drain is over.
pub async fn run(
    args: Args,
    config: Config,
    beginning: Beginning,
    shutdown: Shutdown,
) -> Result<(), AppError> {
    proc::check()?;
    let (handed, upgrade) = (beginning.handed, beginning.upgrade);
    // From before anybody is told that it serves, and may ask for it.
    let hangups = shutdown.reload();
    if let Some(path) = &config.ready_file
        && !handed.is_successor()
    {
        ReadyFile::clear(path)?;
    }
    let state_dir = open_state_dir(&config, &handed)?;
    let executions = executions(&config, &state_dir, beginning.prepared)?;
    let own = (TaskTracker::new(), CancellationToken::new());
    let services = services(&config, &state_dir, &executions, &own).await?;
    let (server, gateway, metrics) = (services.server, services.gateway, services.metrics);
    let (tasks, stop) = own.clone();
    let listeners = Listeners::new(server, gateway.listeners(), metrics, handed, own.clone());
    let renewal = listeners.prepare(&config, false)?;
    let control = ControlListener::bind(state_dir.path(), listeners.handed());
    let control = control.map_err(internal("listen for `remexd status` in the state folder"))?;
    listeners.handed().are_taken(&KEYS)?;
    tell_who_may_call(&config, renewal.grpc());
    executions
        .begin()
        .map_err(internal("look for durable executions"))?;
    let stop_legacy = CancellationToken::new();
    let legacy = tasks.spawn(gateway.serve(stop_legacy.clone()));
    tasks.spawn(sweep(Arc::clone(&executions), stop.clone()));
    let ready = renewal.ready();
    let is_tls = config.trust.tls.is_some();
    let hint = renewal.grpc().next().map(|local| hint_for(local, is_tls));
    listeners.renew(renewal);
    announce(&ready, hint, &config)?;
    // It serves, and nothing leads back.
    drop(listeners.handed().take_predecessor());
    let next = upgrade.clone();
    let parts = Parts {
        listeners,
        executions,
        users: services.users,
        shutdown: shutdown.clone(),
        state_dir,
        upgrade,
        tasks: own,
    };
    let operation = Arc::new(OperatedDaemon::new(args, config, parts, ready));
    tasks.spawn(Arc::clone(&operation).reload_on_hangup(hangups, stop.clone()));
    tasks.spawn(control.serve(Arc::clone(&operation), stop.clone()));
    let serving = Serving {
        health: services.health,
        operation,
        tasks,
        stop,
        stop_legacy,
        legacy,
    };
    serving.until_over(&shutdown).await;
    if shutdown.drain().is_cancelled() {
        // Who asks for an end is asked for nothing else.
        drop(next.take());
    }
    Ok(())
}

/// The state folder, whose lock may be there already.
fn open_state_dir(config: &Config, handed: &HandedSockets) -> Result<StateDir, StateDirError> {
    let lock = handed.other(LOCK).map(File::from);
    match &config.state_dir {
        Some(path) => StateDir::open_with(path, lock),
        None => StateDir::open_with(&state_dir::default_path()?, lock),
    }
}

/// What serves, before there is anything to serve on.
struct Services {
    server: grpc::Server,
    users: watch::Sender<Arc<Users>>,
    health: HealthReporter,
    gateway: Gateway,
    metrics: MetricsEndpoint,
}

async fn services(
    config: &Config,
    state_dir: &StateDir,
    executions: &Arc<Executions>,
    (tasks, stop): &(TaskTracker, CancellationToken),
) -> Result<Services, AppError> {
    let gate = PolicyGate::new(config.policy.current(), Arc::clone(executions.spawner()));
    let exec = ExecHandler::new(Arc::clone(executions), gate.clone(), tasks.clone());
    let (all, health) = routes::all(exec.clone())
        .await
        .map_err(internal("reflection"))?;
    let users = watch::Sender::new(Arc::new(config.users.clone()));
    let (trust, policy) = (config.reloader.current(), gate.counts().clone());
    let server = grpc::Server::new(all, users.subscribe(), trust, gate, tasks.clone());
    let gateway = gateway(config, state_dir, routes::own(exec));
    let metrics = measure(executions, (&server, policy), &gateway);
    Ok(Services {
        users,
        health,
        // To the end of the drain, which is what somebody will want to know of.
        metrics: MetricsEndpoint::new(metrics, tasks.clone(), stop.clone()),
        server,
        gateway,
    })
}

/// What a drain ends.
struct Serving {
    health: HealthReporter,
    operation: Arc<OperatedDaemon>,
    tasks: TaskTracker,
    stop: CancellationToken,
    stop_legacy: CancellationToken,
    legacy: JoinHandle<()>,
}

impl Serving {
    /// Until an end is asked for and has come.
    async fn until_over(mut self, shutdown: &Shutdown) {
        tokio::select! {
            () = shutdown.drain().cancelled() => {}
            () = self.operation.upgrading().cancelled() => {
                tokio::select! {
                    // It does not wait for what it would serve then.
                    () = shutdown.drain().cancelled() => {}
                    () = self.finished() => {}
                }
            }
        }
        let patience = if shutdown.drain().is_cancelled() {
            self.operation.drain_timeout()
        } else {
            // What still runs has had its time.
            Duration::ZERO
        };
        self.stop_legacy.cancel();
        tokio::select! {
            biased;
            () = shutdown.now().cancelled() => {}
            () = self.drained(patience) => return,
        }
        let killed = async {
            let executions = self.operation.executions();
            executions.kill_all().await;
            executions.finished().await;
        };
        if timeout(KILL_NOW, killed).await.is_err() {
            tracing::warn!("some executions have not ended");
        }
    }

    /// Takes no more connections, which wait in the queues of the sockets, and lets those that there are finish, as long as a
    /// drain may take.
    async fn finished(&mut self) {
        self.stop_legacy.cancel();
        let listeners = self.operation.listeners();
        let finished = async { tokio::join!(listeners.finish(), &mut self.legacy) };
        if timeout(self.operation.drain_timeout(), finished)
            .await
            .is_err()
        {
            tracing::info!("ending what still runs for the next program");
        }
    }

    async fn drained(&self, patience: Duration) {
        let executions = self.operation.executions();
        drain(executions, &self.health, patience).await;
        self.stop.cancel();
        self.operation.listeners().close();
        if timeout(GOODBYE, executions.close()).await.is_err() {
            tracing::debug!("what an earlier remexd had left was looked at to the end");
        }
        self.tasks.close();
        if timeout(GOODBYE, self.tasks.wait()).await.is_err() {
            tracing::debug!("connections were open to the end");
        }
    }
}

/// No executions yet, but those that an earlier remexd has left.
fn executions(
    config: &Config,
    state_dir: &StateDir,
    prepared: Prepared,
) -> Result<Arc<Executions>, AppError> {
    let executions = Executions::new(
        Arc::new(spawner(config, state_dir, prepared)?),
        config.max_executions,
        state_dir.path(),
        DurableSettings { sync: config.sync },
    );
    let executions = executions.map_err(internal("open the state folder"))?;
    tracing::info!(
        version = remex::VERSION,
        state = %state_dir.path().display(),
        "process trees are kept together by {}", executions.describe()
    );
    Ok(Arc::new(executions))
}

fn tell_who_may_call<'a>(config: &Config, bound: impl Iterator<Item = &'a BoundAddress>) {
    for (bound, address) in bound.zip(&config.listen) {
        let shown = match bound {
            BoundAddress::Tcp(bound) | BoundAddress::Udp(bound) => bound.to_string(),
            BoundAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        tracing::info!("{}", config.who_may_call(&shown, address));
    }
}

/// All that is counted. What else counts adds itself here, as a [`MetricSource`](remex_daemon::metrics::MetricSource).
fn measure(
    executions: &Arc<Executions>,
    (server, policy): (&grpc::Server, PolicyCounts),
    gateway: &Gateway,
) -> Metrics {
    let mut metrics = Metrics::new(remex::VERSION);
    metrics.add(Measured(Arc::clone(executions)));
    metrics.add(server.reasons().clone());
    metrics.add(RefusedConnections(Arc::clone(server.refusals())));
    metrics.add(policy);
    metrics.add(gateway.counts());
    metrics
}

/// What serves the old protocol, over `services` in this process.
fn gateway(config: &Config, state_dir: &StateDir, services: Routes) -> Gateway {
    let spool = config.spool_dir.as_deref().unwrap_or(state_dir.path());
    let mut limits = Limits::default();
    limits.connections = descriptors::share(limits.connections);
    Gateway::new(Client::from_service(services), limits, spool.to_owned())
}

fn spawner(config: &Config, state_dir: &StateDir, prepared: Prepared) -> Result<Spawner, AppError> {
    let (spawner, killed) = Spawner::new(process::Settings {
        directory: config.chdir.clone(),
        pass_environment: config.pass_env.clone(),
        state_dir: state_dir.path().to_owned(),
        instance: state_dir.instance().to_owned(),
        containment: config.containment,
        prepared: Some(prepared),
    })
    .map_err(internal("ready the spawning of commands"))?;
    if killed > 0 {
        tracing::warn!(
            killed,
            "killed what a crash of the remexd before this one had left"
        );
    }
    Ok(spawner)
}

/// Says where it listens, and how to try it.
fn announce(ready: &ReadyFile, hint: Option<String>, config: &Config) -> Result<(), AppError> {
    let lines = match hint {
        Some(hint) => format!("{ready}{hint}\n"),
        None => ready.to_string(),
    };
    console::print(lines).map_err(internal("print the addresses"))?;
    if let Some(path) = &config.ready_file {
        ready.write(path)?;
    }
    notify::ready();
    Ok(())
}

/// A line to paste.
fn hint_for(address: &BoundAddress, is_tls: bool) -> String {
    const CALL: &str = r#"-d '{"command":{"shell":"uname -a"},"text":true}'"#;
    const TLS: &str = "-cacert ca.pem -cert client.pem -key client.key";
    let options = match address {
        BoundAddress::Unix(path) => {
            let path = path.display();
            format!("-plaintext -unix -authority localhost {CALL} {path}")
        }
        BoundAddress::Tcp(address) | BoundAddress::Udp(address) => {
            let channel = if is_tls { TLS } else { "-plaintext" };
            format!("{channel} {CALL} {address}")
        }
    };
    format!("try: grpcurl {options} remex.v1.ExecService/Run")
}

/// Nothing new starts; what runs gets `patience`, then is ended with SHUTDOWN.
async fn drain(executions: &Executions, health: &HealthReporter, patience: Duration) {
    executions.drain();
    routes::serve(health, false).await;
    if timeout(patience, executions.finished()).await.is_ok() {
        return;
    }
    let running = executions.running();
    tracing::info!(running, "ending what still runs");
    let bound = executions.longest_kill_after() + KILL_BOUND + GOODBYE;
    let ended = async {
        executions.end_all(Cause::Shutdown).await;
        executions.finished().await;
    };
    // A reader that holds its output up holds up no more than this.
    if timeout(bound, ended).await.is_err() {
        tracing::warn!("some executions have not ended");
    }
}

async fn sweep(executions: Arc<Executions>, stop: CancellationToken) {
    let mut ticks = interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            // It may have to look at all processes of the machine.
            _ = ticks.tick() => block_in_place(|| executions.sweep()),
            () = stop.cancelled() => return,
        }
    }
}

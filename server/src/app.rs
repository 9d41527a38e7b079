//! remexd from a checked configuration to its exit: open what it needs, bind, serve, drain.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use remex::error::Reason;
use remex_client::Client;
use remex_daemon::{
    DaemonExit, ReadyError, ReadyFile,
    admission::Refused,
    console, descriptors,
    metrics::{Metrics, MetricsListener},
    net::{AcceptLimits, Acceptor, BindError, BoundAddress, Listener},
    notify,
    shutdown::Shutdown,
};
use remex_gateway::{Bound, Gateway, config::Legacy, limits::Limits};
use remex_supervisor::{
    lifecycle::{ending::KILL_BOUND, outcome::Cause},
    process::{self, Prepared, Spawner},
};
use tokio::{
    task::block_in_place,
    time::{interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

use crate::{
    audit::{AuditError, AuditLog, Subject},
    config::{Args, Config, Ipv6Defaults},
    control::ControlListener,
    durable::DurableSettings,
    execution::{Executions, Measured},
    grpc::{self, connection::MAX_CONNECTIONS, counts::RefusedConnections, routes},
    operation::OperatedDaemon,
    policy::gate::PolicyGate,
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

/// Lines of the audit log on what was killed are given this long to be written.
const LAST_LINES: Duration = Duration::from_millis(200);

/// remexd cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// What the machine lacks.
    #[error(transparent)]
    Proc(#[from] NoProc),
    /// The state folder.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The audit log.
    #[error("--audit-log: {0}")]
    Audit(#[from] AuditError),
    /// An address.
    #[error("{flag}: {source}")]
    Bind {
        /// The flag that names another.
        flag: &'static str,
        /// What is wrong.
        source: BindError,
    },
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
            | AppError::Audit(_)
            | AppError::Bind { .. }
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

/// Serves, in a process that is `prepared`, as `config` says until `shutdown` asks to stop, and then until the drain is over.
pub async fn run(
    args: Args,
    config: Config,
    prepared: Prepared,
    shutdown: Shutdown,
) -> Result<(), AppError> {
    proc::check()?;
    // From before anybody is told that it serves, and may ask for it.
    let hangups = shutdown.reload();
    if let Some(path) = &config.ready_file {
        ReadyFile::clear(path)?;
    }
    let state_dir = match &config.state_dir {
        Some(path) => StateDir::open(path),
        None => StateDir::open(&state_dir::default_path()?),
    }?;
    let audit = AuditLog::start(&config.audit)?;
    let executions = executions(&config, &state_dir, prepared, audit.clone())?;
    let gate = PolicyGate::new(config.policy.current(), Arc::clone(executions.spawner()));
    let tasks = TaskTracker::new();
    let exec = ExecHandler::new(Arc::clone(&executions), gate.clone(), tasks.clone());
    let (all, health) = routes::all(exec.clone(), &audit)
        .await
        .map_err(internal("reflection"))?;
    let mut ready = ReadyFile::default();
    let users = Arc::new(config.users.clone());
    let stop = CancellationToken::new();
    let trust = config.reloader.current();
    let server = grpc::Server::new(all, users, trust, gate, audit.clone(), tasks.clone());
    let acceptors = acceptors(&config, &mut ready)?;
    let gateway = gateway(&config, &state_dir, routes::own(exec, &audit), &mut ready)?;
    tell_refusals(&gateway, &audit);
    let metrics = bind_metrics(&config, &mut ready)?;
    tell_who_may_call(&config, &acceptors);
    let first = acceptors.first();
    let hint = first.map(|acceptor| hint_for(acceptor.local(), config.trust.tls.is_some()));
    executions
        .begin()
        .map_err(internal("look for durable executions"))?;
    for acceptor in acceptors {
        tasks.spawn(server.clone().serve(acceptor, stop.clone()));
    }
    if let Some(listener) = metrics {
        let metrics = measure(&executions, &server, &gateway);
        // To the end of the drain, which is what somebody will want to know of.
        tasks.spawn(listener.serve(Arc::new(metrics), stop.clone()));
    }
    let stop_legacy = CancellationToken::new();
    tasks.spawn(serve_legacy(gateway, stop_legacy.clone()));
    tasks.spawn(sweep(Arc::clone(&executions), stop.clone()));
    let control = ControlListener::bind(state_dir.path());
    let control = control.map_err(internal("listen for `remexd status` in the state folder"))?;
    announce(&ready, hint, &config)?;
    let operation = OperatedDaemon::new(
        args,
        &config,
        Arc::clone(&executions),
        shutdown.clone(),
        ready.lines().to_vec(),
    );
    let operation = Arc::new(operation);
    let files = || operation.files();
    tasks.spawn(config.reloader.run(files(), stop.clone()));
    tasks.spawn(config.policy.run(files(), stop.clone()));
    tasks.spawn(audit.clone().reopen_on(files(), stop.clone()));
    tasks.spawn(Arc::clone(&operation).reload_on_hangup(hangups, stop.clone()));
    tasks.spawn(control.serve(Arc::clone(&operation), stop.clone()));
    let serving = Serving {
        executions,
        health,
        operation,
        audit,
        tasks,
        stop,
        stop_legacy,
    };
    serving.until_over(&shutdown).await;
    Ok(())
}

/// Tells in `audit` whom `gateway` refuses before anything of it comes to the services.
fn tell_refusals(gateway: &Gateway, audit: &AuditLog) {
    if !audit.is_on() {
        return;
    }
    let audit = audit.clone();
    gateway.observe_refusals(move |listener, refused, peer, why| {
        let reason = match refused {
            Refused::Peer => Reason::PeerNotAllowed.as_str(),
            Refused::Connections => "CONNECTIONS",
            Refused::CrossProtocol => "CROSS_PROTOCOL",
            Refused::Source => "SOURCE",
            // Of the server's room, or of what was said, and not of who said it.
            Refused::Full
            | Refused::Commands
            | Refused::Idle
            | Refused::Unread
            | Refused::Command
            | Refused::Handshake
            | Refused::Credential
            | Refused::Rate => return,
        };
        let caller = peer.to_string();
        // Another port is the same peer.
        let address = caller.parse::<SocketAddr>().ok();
        let subject = Subject {
            caller: match address {
                Some(address) => format!("ip:{}", address.ip().to_canonical()),
                None => caller,
            },
            from: address,
            through: listener.to_owned(),
        };
        audit.refused(&subject, None, reason, &why.to_string());
    });
}

/// What a drain ends.
struct Serving {
    executions: Arc<Executions>,
    health: HealthReporter,
    operation: Arc<OperatedDaemon>,
    audit: AuditLog,
    tasks: TaskTracker,
    stop: CancellationToken,
    stop_legacy: CancellationToken,
}

impl Serving {
    /// Until an end is asked for and has come, and all of it is told.
    async fn until_over(&self, shutdown: &Shutdown) {
        self.ended(shutdown).await;
        // A second signal is over within a second.
        let patience = if shutdown.now().is_cancelled() {
            LAST_LINES
        } else {
            GOODBYE
        };
        if !block_in_place(|| self.audit.finish(patience)) {
            tracing::warn!("--audit-log: lines are left that could not be written");
        }
    }

    async fn ended(&self, shutdown: &Shutdown) {
        shutdown.drain().cancelled().await;
        self.stop_legacy.cancel();
        tokio::select! {
            biased;
            () = shutdown.now().cancelled() => {}
            () = self.drained() => return,
        }
        let killed = async {
            self.executions.kill_all().await;
            self.executions.finished().await;
        };
        if timeout(KILL_NOW, killed).await.is_err() {
            tracing::warn!("some executions have not ended");
        }
    }

    async fn drained(&self) {
        drain(
            &self.executions,
            &self.health,
            self.operation.drain_timeout(),
        )
        .await;
        self.stop.cancel();
        if timeout(GOODBYE, self.executions.close()).await.is_err() {
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
    audit: AuditLog,
) -> Result<Arc<Executions>, AppError> {
    let executions = Executions::new(
        Arc::new(spawner(config, state_dir, prepared)?),
        config.max_executions,
        state_dir.path(),
        DurableSettings { sync: config.sync },
        audit,
    );
    let executions = executions.map_err(internal("open the state folder"))?;
    tracing::info!(
        version = remex::VERSION,
        state = %state_dir.path().display(),
        "process trees are kept together by {}", executions.describe()
    );
    Ok(Arc::new(executions))
}

fn tell_who_may_call(config: &Config, acceptors: &[Acceptor]) {
    for (acceptor, address) in acceptors.iter().zip(&config.listen) {
        let shown = match acceptor.local() {
            BoundAddress::Tcp(bound) | BoundAddress::Udp(bound) => bound.to_string(),
            BoundAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        tracing::info!("{}", config.who_may_call(&shown, address));
    }
}

/// The listeners of gRPC, bound.
fn acceptors(config: &Config, ready: &mut ReadyFile) -> Result<Vec<Acceptor>, AppError> {
    let permits = AcceptLimits {
        connections: descriptors::share(MAX_CONNECTIONS),
    }
    .permits();
    let mut acceptors = Vec::new();
    for (index, address) in config.listen.iter().enumerate() {
        let bound = Listener::bind(address);
        let bound = or_ipv6(bound, config.ipv6.listen.get(index), Listener::bind);
        let listener = bound.map_err(bind_error("--listen"))?;
        ready.grpc(&listener.local(), config.trust.tls.is_some());
        let acceptor = Acceptor::new(listener, Arc::clone(&permits));
        acceptors.push(acceptor.map_err(internal("watch a listener"))?);
    }
    Ok(acceptors)
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

/// Where metrics are told, if anywhere.
fn bind_metrics(
    config: &Config,
    ready: &mut ReadyFile,
) -> Result<Option<MetricsListener>, AppError> {
    let Some(address) = &config.metrics else {
        return Ok(None);
    };
    let listener = Listener::bind(address).map_err(bind_error("--metrics"))?;
    let listener = MetricsListener::new(listener).map_err(internal("watch a listener"))?;
    ready.metrics(&listener.url());
    Ok(Some(listener))
}

/// All that is counted. What else counts adds itself here, as a [`MetricSource`](remex_daemon::metrics::MetricSource).
fn measure(executions: &Arc<Executions>, server: &grpc::Server, gateway: &Gateway) -> Metrics {
    let mut metrics = Metrics::new(remex::VERSION);
    metrics.add(Measured(Arc::clone(executions)));
    metrics.add(server.reasons().clone());
    metrics.add(RefusedConnections(Arc::clone(server.refusals())));
    metrics.add(gateway.counts());
    metrics
}

/// The listeners of the old protocol, bound, over `services` in this process.
fn gateway(
    config: &Config,
    state_dir: &StateDir,
    services: Routes,
    ready: &mut ReadyFile,
) -> Result<Gateway, AppError> {
    let mut all = Vec::new();
    let bind = |Legacy { listener, users }: &Legacy| Bound::bind(listener.clone(), users.clone());
    let Ipv6Defaults { legacy: ipv6, .. } = &config.ipv6;
    for (index, legacy) in config.legacy.iter().enumerate() {
        let bound = or_ipv6(bind(legacy), ipv6.get(index), bind);
        let bound = bound.map_err(bind_error("--legacy"))?;
        ready.legacy(bound.listener().name(), bound.local());
        all.push(bound);
    }
    let spool = config.spool_dir.as_deref().unwrap_or(state_dir.path());
    let client = Client::from_service(services);
    let mut limits = Limits::default();
    limits.connections = descriptors::share(limits.connections);
    Ok(Gateway::new(client, all, limits, spool.to_owned()))
}

fn bind_error(flag: &'static str) -> impl FnOnce(BindError) -> AppError {
    move |source| AppError::Bind { flag, source }
}

async fn serve_legacy(gateway: Gateway, stop: CancellationToken) {
    if let Err(error) = gateway.serve(stop).await {
        tracing::error!(%error, "the old protocol is not served");
    }
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

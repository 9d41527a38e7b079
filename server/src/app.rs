//! remexd from a checked configuration to its exit: open what it needs, bind, serve, drain.

mod ending;
mod services;

use std::{fs::File, sync::Arc, time::Duration};

use remex_daemon::{
    DaemonExit, ReadyError, ReadyFile, console,
    handover::LOCK,
    net::{BoundAddress, HandedError, HandedSockets, KEYS},
    notify,
    shutdown::Shutdown,
};
use remex_supervisor::process::{self, Prepared, Spawner};
use tokio::{task::block_in_place, time::interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{ending::Serving, services::services};
use crate::{
    audit::{AuditError, AuditLog},
    config::{Args, Config},
    control::ControlListener,
    durable::DurableSettings,
    execution::Executions,
    listeners::{Listeners, NoListener},
    operation::{OperatedDaemon, Parts, Upgrade},
    proc::{self, NoProc},
    state_dir::{self, StateDir, StateDirError},
    traces::{Traces, TracesError, handed_over},
};

/// How often what ended commands left running is looked after.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

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
    /// Where spans go.
    #[error("--otlp-endpoint: {0}")]
    Traces(#[from] TracesError),
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
            | AppError::Audit(_)
            | AppError::Traces(_)
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
    let audit = AuditLog::start(&config.audit)?;
    let traces = Traces::start(&config.traces)?;
    let executions = executions(&config, &state_dir, beginning.prepared, audit.clone())?;
    let own = (TaskTracker::new(), CancellationToken::new());
    let services = services(&config, &state_dir, &executions, (&audit, &traces), &own).await?;
    let (server, gateway, metrics) = (services.server, services.gateway, services.metrics);
    let (tasks, stop) = own.clone();
    let listeners = Listeners::new(server, gateway.listeners(), metrics, handed, own.clone());
    let renewal = listeners.prepare(&config, false)?;
    let control = ControlListener::bind(state_dir.path(), listeners.handed());
    let mut control = control.map_err(internal("listen in the state folder"))?;
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
        control: control.take_handed(),
        audit: audit.clone(),
        tasks: own,
    };
    let operation = Arc::new(OperatedDaemon::new(args, config, parts, ready));
    tasks.spawn(Arc::clone(&operation).reload_on_hangup(hangups, stop.clone()));
    tasks.spawn(control.serve(Arc::clone(&operation), stop.clone()));
    let serving = Serving {
        health: services.health,
        operation,
        audit,
        traces,
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

fn tell_who_may_call<'a>(config: &Config, bound: impl Iterator<Item = &'a BoundAddress>) {
    for (bound, address) in bound.zip(&config.listen) {
        let shown = match bound {
            BoundAddress::Tcp(bound) | BoundAddress::Udp(bound) => bound.to_string(),
            BoundAddress::Unix(path) => format!("unix:{}", path.display()),
        };
        tracing::info!("{}", config.who_may_call(&shown, address));
    }
}

fn spawner(config: &Config, state_dir: &StateDir, prepared: Prepared) -> Result<Spawner, AppError> {
    let (_, pass_environment) = handed_over(&config.pass_env);
    let (spawner, killed) = Spawner::new(process::Settings {
        directory: config.chdir.clone(),
        pass_environment,
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

//! `remex-gateway`: the gateway as a process of its own. Flags, bind, serve, exit code; all else is the library's.

use std::{fmt::Display, future::pending, io::Write, process::ExitCode, sync::Arc};

use clap::Parser;
use remex_client::Client;
use remex_daemon::{
    DaemonExit, ReadyFile, console, descriptors, fail,
    logging::LogSettings,
    metrics::{Metrics, MetricsListener},
    net::{Address, Listener},
    notify, serve,
    shutdown::Shutdown,
};
use remex_gateway::{
    Bound, Gateway,
    config::{Args, Config, check_spool},
    limits::Limits,
};

const PROGRAM: &str = "remex-gateway";

/// It cannot serve: a port, a socket or a file cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unavailable(String);

impl From<&Unavailable> for DaemonExit {
    fn from(_: &Unavailable) -> Self {
        Self::Unavailable
    }
}

fn unavailable(error: impl Display) -> Unavailable {
    Unavailable(error.to_string())
}

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => start(&args),
        Err(error) => {
            // Nobody is left to be told, if this fails.
            let _ = error.print();
            [DaemonExit::Success, DaemonExit::Usage][usize::from(error.use_stderr())]
        }
    }
    .into()
}

fn start(args: &Args) -> DaemonExit {
    let config = match Config::load(args) {
        Ok(config) => config,
        Err(error) => return fail(PROGRAM, &error, DaemonExit::Usage),
    };
    if args.shared.check {
        let _ = std::io::stdout().write_all(explain(&config).as_bytes());
        return match check_spool(&config.spool_folder) {
            Ok(()) => DaemonExit::Success,
            Err(error) => fail(PROGRAM, &error, DaemonExit::Usage),
        };
    }
    let log = LogSettings {
        format: config.log_format,
        level: config.log_level,
        overheard: &[],
    };
    serve(PROGRAM, log, |shutdown| run(config, shutdown))
}

fn explain(config: &Config) -> String {
    let legacy = config.legacy.iter();
    let lines = legacy.map(|legacy| legacy.listener.explain(&legacy.users));
    let server = format!("The server is {}.", config.upstream);
    [server]
        .into_iter()
        .chain(lines)
        .collect::<Vec<_>>()
        .join("\n")
        + "\n"
}

fn bind_metrics(address: &Address, ready: &mut ReadyFile) -> Result<MetricsListener, Unavailable> {
    let failed = |error: &dyn Display| unavailable(format!("--metrics {address}: {error}"));
    let listener = Listener::bind(address).map_err(|error| failed(&error))?;
    let listener = MetricsListener::new(listener).map_err(|error| failed(&error))?;
    ready.metrics(&listener.url());
    Ok(listener)
}

async fn run(config: Config, shutdown: Shutdown) -> Result<(), Unavailable> {
    if let Some(path) = &config.ready_file {
        ReadyFile::clear(path).map_err(unavailable)?;
    }
    let (mut bound, mut ready) = (Vec::new(), ReadyFile::default());
    for legacy in config.legacy {
        let url = legacy.listener.url();
        let one = Bound::bind(legacy.listener, legacy.users)
            .map_err(|error| unavailable(format!("--legacy {url}: {error}")))?;
        ready.legacy(one.listener().name(), one.local());
        bound.push(one);
    }
    let metrics = match &config.metrics {
        Some(address) => Some(bind_metrics(address, &mut ready)?),
        None => None,
    };
    let client =
        Client::connect_lazy_with(&config.upstream, &config.credentials).map_err(unavailable)?;
    // No command inherits what it is raised to.
    descriptors::raise();
    let mut limits = Limits::default();
    limits.connections = descriptors::share(limits.connections);
    let gateway = Gateway::new(client, bound, limits, config.spool_folder);
    console::print(ready.to_string()).map_err(unavailable)?;
    if let Some(path) = &config.ready_file {
        ready.write(path).map_err(unavailable)?;
    }
    notify::ready();
    if let Some(listener) = metrics {
        let mut metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        metrics.add(gateway.counts());
        tokio::spawn(listener.serve(Arc::new(metrics), shutdown.now().clone()));
    }
    let serving = gateway.serve_within(shutdown.drain().clone(), config.drain_timeout);
    let look = async {
        if let Err(error) = Client::connect_with(&config.upstream, &config.credentials).await {
            tracing::warn!(upstream = %config.upstream, %error, "the server is away; commands are refused until it is back");
        }
        pending::<Result<(), Unavailable>>().await
    };
    tokio::select! {
        served = serving => served.map_err(unavailable),
        looked = look => looked,
        // Dropped, it resets its clients, and kills their commands.
        () = shutdown.now().cancelled() => Ok(()),
    }
}

//! What is around a daemon's serving, in the order in which it begins: its log, its signals, its runtime.

use std::{any::Any, fmt::Display, io, panic};

use tokio::runtime::{Builder, Runtime};

use super::{
    DaemonExit, console,
    logging::{self, LogSettings, LoggingError},
    memory, notify,
    shutdown::{self, Shutdown},
};

/// A daemon cannot begin to serve.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Logging(#[from] LoggingError),
    /// The kernel, a container's seccomp profile or a limit does not let it.
    #[error("cannot start threads: {0}; raise the limit of processes, or allow clone(2)")]
    Threads(String),
    #[error("cannot start: {0}")]
    Runtime(#[from] io::Error),
}

impl From<&StartError> for DaemonExit {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Logging(LoggingError::Filter(_) | LoggingError::NotUtf8) => Self::Usage,
            StartError::Logging(LoggingError::Twice | LoggingError::NotBegun) => Self::Internal,
            StartError::Logging(LoggingError::Thread(_))
            | StartError::Threads(_)
            | StartError::Runtime(_) => Self::Unavailable,
        }
    }
}

/// Serves until signals end it, or `serving` fails; says on stderr why `program` does not serve.
pub fn serve<F, E>(
    program: &str,
    log: LogSettings,
    serving: impl FnOnce(Shutdown) -> F,
) -> DaemonExit
where
    F: Future<Output = Result<(), E>>,
    E: Display,
    for<'a> DaemonExit: From<&'a E>,
{
    let (runtime, shutdown) = match begun(program, log) {
        Ok(begun) => begun,
        Err(exit) => return exit,
    };
    runtime.spawn(memory::give_back());
    runtime.spawn(notify::watch(shutdown.clone()));
    let served = runtime.block_on(serving(shutdown.clone()));
    // What was open to the end is cut off.
    runtime.shutdown_background();
    match served {
        Ok(()) => {
            logging::flush();
            shutdown.exit()
        }
        Err(error) => fail(program, &error, DaemonExit::from(&error)),
    }
}

/// Says why `program` ends, behind what it has logged.
pub fn fail(program: &str, why: &dyn Display, exit: DaemonExit) -> DaemonExit {
    logging::flush();
    console::complain(program, why);
    exit
}

fn begun(program: &str, log: LogSettings) -> Result<(Runtime, Shutdown), DaemonExit> {
    begin(log).map_err(|error| fail(program, &error, DaemonExit::from(&error)))
}

fn begin(log: LogSettings) -> Result<(Runtime, Shutdown), StartError> {
    logging::init(log)?;
    let shutdown = shutdown::on_signals()?;
    Ok((runtime()?, shutdown))
}

/// After so many polls of tasks a thread looks whether the kernel has news. tokio's own 61 let whoever waits for it wait for
/// as many turns of busy connections.
const NEWS_INTERVAL: u32 = 16;

/// tokio panics where it is denied a thread.
fn runtime() -> Result<Runtime, StartError> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let built = panic::catch_unwind(|| {
        Builder::new_multi_thread()
            .enable_all()
            .event_interval(NEWS_INTERVAL)
            .build()
    });
    panic::set_hook(hook);
    match built {
        Ok(built) => Ok(built?),
        Err(panic) => Err(StartError::Threads(message(panic.as_ref()))),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the kernel denies them").to_owned()
}

//! remexd: flags, logging, the runtime, and an exit code.

use std::{io::Write, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use remex_daemon::{Exit, logging};
use remex_server::{
    app,
    config::{Args, Config},
};
use remex_supervisor::process;

fn main() -> ExitCode {
    match start() {
        Ok(()) => Exit::Success,
        Err(exit) => exit,
    }
    .into()
}

fn start() -> Result<(), Exit> {
    let prepared = process::prepare().map_err(|error| fail(&error, Exit::Internal))?;
    let args = Args::try_parse().map_err(|error| {
        // A reader that has gone needs no help.
        let _ = error.print();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Success,
            _ => Exit::Usage,
        }
    })?;
    let config = Config::new(&args).map_err(|error| fail(&error, Exit::Usage))?;
    if args.shared.check {
        let _ = std::io::stdout().write_all(config.explain().as_bytes());
        return Ok(());
    }
    logging::init(config.log_format).map_err(|error| fail(&error, Exit::Usage))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| fail(&error, Exit::Internal))?;
    let served = runtime.block_on(app::run(config, prepared));
    // What was open to the end is cut off.
    runtime.shutdown_background();
    served.map_err(|error| fail(&error, Exit::from(&error)))
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> Exit {
    let _ = writeln!(std::io::stderr(), "remexd: {error}");
    exit
}

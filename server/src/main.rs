//! remexd: flags, a checked configuration, and an exit code.

use std::{io::Write, process::ExitCode};

use clap::{Parser, error::ErrorKind};
use remex_daemon::{DaemonExit, fail, logging::LogSettings, serve};
use remex_server::{
    app,
    config::{Args, Config},
    grpc,
    tools::Tool,
};
use remex_supervisor::process::{self, Prepared};

const PROGRAM: &str = "remexd";

fn main() -> ExitCode {
    let prepared = match process::prepare() {
        Ok(prepared) => prepared,
        Err(error) => return fail(PROGRAM, &error, DaemonExit::Internal).into(),
    };
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // A reader that has gone needs no help.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => DaemonExit::Success,
                _ => DaemonExit::Usage,
            }
            .into();
        }
    };
    match &args.tool {
        Some(tool) => run_tool(tool),
        None => start(&args, prepared),
    }
    .into()
}

fn run_tool(tool: &Tool) -> DaemonExit {
    match tool.run() {
        Ok(exit) => exit,
        Err(error) => fail(PROGRAM, &error, DaemonExit::from(&error)),
    }
}

fn start(args: &Args, prepared: Prepared) -> DaemonExit {
    let config = match Config::new(args) {
        Ok(config) => config,
        Err(error) => return fail(PROGRAM, &error, DaemonExit::Usage),
    };
    if args.shared.check {
        let _ = std::io::stdout().write_all(config.explain().as_bytes());
        return match config.check() {
            Ok(()) => DaemonExit::Success,
            Err(error) => fail(PROGRAM, &error, DaemonExit::Usage),
        };
    }
    let log = LogSettings {
        format: config.log_format,
        level: config.log_level,
        overheard: &[grpc::authority::REFUSED],
    };
    serve(PROGRAM, log, |shutdown| {
        app::run(args.clone(), config, prepared, shutdown)
    })
}

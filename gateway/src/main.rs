//! `remex-gateway`: the gateway as a process of its own: flags, a checked configuration, and an exit code.

mod standalone;

use std::{io::Write, process::ExitCode};

use clap::Parser;
use remex_daemon::{DaemonExit, fail, logging::LogSettings, net::HandedSockets, serve};
use remex_gateway::config::{Args, Config, check_spool};

const PROGRAM: &str = "remex-gateway";

fn main() -> ExitCode {
    let handed = match HandedSockets::take() {
        Ok(handed) => handed,
        Err(error) => return fail(PROGRAM, &error, DaemonExit::Unavailable).into(),
    };
    match Args::try_parse() {
        Ok(args) => start(&args, handed),
        Err(error) => {
            // Nobody is left to be told, if this fails.
            let _ = error.print();
            [DaemonExit::Success, DaemonExit::Usage][usize::from(error.use_stderr())]
        }
    }
    .into()
}

fn start(args: &Args, handed: HandedSockets) -> DaemonExit {
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
    serve(PROGRAM, log, |shutdown| {
        standalone::run(args.clone(), config, handed, shutdown)
    })
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

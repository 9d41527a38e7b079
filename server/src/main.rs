//! remexd: flags, a checked configuration, and an exit code.

use std::{io::Write, process::ExitCode, sync::Arc};

use clap::{Parser, error::ErrorKind};
use remex_daemon::{
    DaemonExit, Handover, console, fail, logging::LogSettings, net::HandedSockets, serve,
};
use remex_server::{
    app::{self, Beginning},
    config::{Args, Config},
    grpc,
    operation::Upgrade,
    tools::Tool,
};
use remex_supervisor::process;

const PROGRAM: &str = "remexd";

fn main() -> ExitCode {
    let prepared = match process::prepare() {
        Ok(prepared) => prepared,
        Err(error) => return fail(PROGRAM, &error, DaemonExit::Internal).into(),
    };
    let handed = match HandedSockets::take() {
        Ok(handed) => handed,
        Err(error) => return fail(PROGRAM, &error, DaemonExit::Unavailable).into(),
    };
    let beginning = Beginning {
        prepared,
        upgrade: Upgrade::new(&handed),
        handed: Arc::new(handed),
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
    if let Some(tool) = &args.tool {
        run_tool(tool)
    } else {
        let (handed, upgrade) = (Arc::clone(&beginning.handed), beginning.upgrade.clone());
        let exit = start(&args, beginning);
        succeeded(exit, &handed, &upgrade)
    }
    .into()
}

/// Executes what takes this program's place, if anything does: the one that is installed now, once this one has ended its
/// work for it; or the one before this one, which has left this one all that it could not serve.
fn succeeded(exit: DaemonExit, handed: &HandedSockets, upgrade: &Upgrade) -> DaemonExit {
    if let Some((successor, handover)) = upgrade.take().filter(|_| exit == DaemonExit::Success) {
        let error = successor.execute(&handover);
        console::complain(
            PROGRAM,
            &format!("{}: {error}", successor.program().display()),
        );
        return again(&handover);
    }
    match handed.take_predecessor() {
        Some(handover) if exit != DaemonExit::Success => again(&handover),
        _ => exit,
    }
}

/// Executes the program that has left `handover`. Returns only if that fails.
fn again(handover: &Handover) -> DaemonExit {
    let Some(predecessor) = handover.predecessor() else {
        return DaemonExit::Internal;
    };
    console::complain(PROGRAM, &"executing the program before it again");
    let error = predecessor.execute(handover);
    fail(PROGRAM, &error, DaemonExit::Internal)
}

fn run_tool(tool: &Tool) -> DaemonExit {
    match tool.run() {
        Ok(exit) => exit,
        Err(error) => fail(PROGRAM, &error, DaemonExit::from(&error)),
    }
}

fn start(args: &Args, beginning: Beginning) -> DaemonExit {
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
        app::run(args.clone(), config, beginning, shutdown)
    })
}

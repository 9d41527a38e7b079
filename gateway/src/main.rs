//! `remex-gateway`: the gateway as a process of its own. Flags, bind, serve, exit code; all else is the library's.

use std::{fmt::Display, process::ExitCode};

use clap::Parser;
use remex_client::Client;
use remex_daemon::{Exit, Ready, logging, shutdown};
use remex_gateway::{
    Bound, Gateway,
    config::{Args, Config, check_spool},
    limits::Limits,
};
use tokio::runtime::Runtime;

/// What went wrong, and the exit code that says so.
struct Failure(Exit, String);

fn usage(error: impl Display) -> Failure {
    Failure(Exit::Usage, error.to_string())
}

fn unavailable(error: impl Display) -> Failure {
    Failure(Exit::Unavailable, error.to_string())
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to be told, if this fails.
            let _ = error.print();
            let exits = [Exit::Success, Exit::Usage];
            return exits[usize::from(error.use_stderr())].into();
        }
    };
    let Err(Failure(exit, why)) = run(&args) else {
        return Exit::Success.into();
    };
    complain(&why);
    exit.into()
}

#[expect(clippy::print_stderr, reason = "logs may not have begun")]
fn complain(why: &str) {
    eprintln!("remex-gateway: {why}");
}

fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(args).map_err(usage)?;
    if args.shared.check {
        explain(&config);
        return check_spool(&config.spool_folder).map_err(usage);
    }
    logging::init(config.log_format).map_err(usage)?;
    Runtime::new().map_err(unavailable)?.block_on(serve(config))
}

#[expect(clippy::print_stdout, reason = "it is what --check is for")]
fn explain(config: &Config) {
    println!("The server is {}.", config.upstream);
    for legacy in &config.legacy {
        println!("{}", legacy.listener.explain());
    }
}

async fn serve(config: Config) -> Result<(), Failure> {
    let stop = shutdown::on_signals().map_err(unavailable)?;
    if let Some(path) = &config.ready_file {
        Ready::clear(path).map_err(unavailable)?;
    }
    let (mut bound, mut ready) = (Vec::new(), Ready::default());
    for legacy in config.legacy {
        let url = legacy.listener.url();
        let one = Bound::bind(legacy.listener, legacy.users)
            .map_err(|error| unavailable(format!("--legacy {url}: {error}")))?;
        ready.legacy(one.listener().name(), one.local());
        bound.push(one);
    }
    let client = Client::connect_lazy(&config.upstream);
    let gateway = Gateway::new(client, bound, Limits::default(), config.spool_folder);
    ready.print().map_err(unavailable)?;
    if let Some(path) = &config.ready_file {
        ready.write(path).map_err(unavailable)?;
    }
    let serving = gateway.serve_within(stop, config.drain_timeout);
    serving.await.map_err(unavailable)
}

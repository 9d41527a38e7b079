//! A client of remexd in Rust: runs a command as if it were local.

#![expect(clippy::print_stderr, reason = "a command line")]

mod attach;
mod capture;
mod head;
mod options;
mod run;
mod start;
mod terminal;

use std::{env, process::ExitCode};

use remex_client::{Client, Credentials, Error, Reason, STATUS_FAILURE};
use tokio::runtime::Runtime;

use crate::options::{Options, USAGE};

/// What a verb comes to: an exit code, or whatever went wrong.
type Outcome = Result<u8, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let Some((verb, options)) = options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(report(&error)),
    };
    let outcome = runtime.block_on(call(&verb, options));
    // A thread may still wait for stdin, and nothing wakes it.
    runtime.shutdown_background();
    ExitCode::from(outcome.unwrap_or_else(|error| report(&*error)))
}

async fn call(verb: &str, options: Options) -> Outcome {
    // The token is sent over TLS alone, or on this machine. Files that change later are read again.
    let credentials = Credentials::load(options.credentials.clone())?;
    let client = Client::connect_with(&options.server.parse()?, &credentials).await?;
    match verb {
        "run" => run::run(&client, options).await,
        "capture" => capture::capture(&client, options).await,
        "head" => head::head(&client, options).await,
        "start" => start::start(&client, options).await,
        "attach" => attach::attach(&client, options).await,
        _ => Err(format!("no verb {verb}").into()),
    }
}

/// Tells the user of an error, and returns the exit code for it.
fn report(error: &(dyn std::error::Error + 'static)) -> u8 {
    eprintln!("client: {error}");
    // Why remexd refused: what a program decides by.
    let reason = error.downcast_ref().and_then(Error::reason);
    match reason {
        Some(Reason::ProgramNotFound) => 127,
        Some(Reason::ProgramNotExecutable) => 126,
        _ => STATUS_FAILURE,
    }
}

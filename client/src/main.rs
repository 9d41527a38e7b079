//! `remex`: runs commands on another machine from the command line.

mod cli;

use std::process::ExitCode;

use cli::{Asked, Failure};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    let asked = match Asked::from_command_line() {
        Ok(asked) => asked,
        Err(refusal) => return refusal.report(),
    };
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("cannot begin: {error}")).report(),
    };
    let result = runtime.block_on(asked.carry_out());
    // A name that is still being looked up holds up nothing.
    runtime.shutdown_background();
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.report(),
    }
}

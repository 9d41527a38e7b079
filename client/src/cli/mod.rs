//! The command line: one module a subcommand, over what they share. Whatever goes wrong is a `Failure` in the end: one
//! line on stderr and an exit code.

mod args;
mod attach;
mod command;
mod complete;
mod config;
mod echo;
mod escape;
mod failure;
mod ids;
mod json;
mod kill;
mod legacy;
mod logs;
mod ping;
mod print;
mod ps;
mod quote;
mod rm;
mod run;
mod server;
mod start;
mod usage;
mod values;
mod version;
mod wait;

use std::process::ExitCode;

use tokio::runtime::Builder;

use self::args::Asked;
pub(crate) use self::failure::Failure;
pub use self::{args::definition, complete::VARIABLE as COMPLETION_VARIABLE};

/// All that the program `remex` does.
pub fn main() -> ExitCode {
    if let Some(answered) = complete::answer() {
        return answered;
    }
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

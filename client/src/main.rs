//! `remex`: runs commands on another machine from the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    remex_client::cli::main()
}

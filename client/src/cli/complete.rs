//! Completions: the script of a shell asks remex itself, which knows what can be typed.

use std::{env, process::ExitCode};

use clap_complete::CompleteEnv;

use super::{Failure, args::definition};

/// The variable by which a shell asks: its name is the value.
pub const VARIABLE: &str = "REMEX_COMPLETE";

/// Answers the shell, if it is one that asks.
pub(super) fn answer() -> Option<ExitCode> {
    let here = env::current_dir().ok();
    let asked = CompleteEnv::with_factory(definition).var(VARIABLE);
    match asked.try_complete(env::args_os(), here.as_deref()) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(error) => Some(Failure::new(error.to_string()).report()),
    }
}

//! The line that each execution leaves in the log when it has ended. Never its arguments: they hold passwords.

use std::fmt;

use remex_supervisor::{
    lifecycle::{
        event::Exit,
        outcome::{Cause, ExitReason},
    },
    process::ExitStatus,
};

use super::Execution;

/// The most characters of a program's name.
const PROGRAM_CHARACTERS: usize = 256;

/// How it ended, for people.
struct Ending(Option<ExitStatus>);

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ExitStatus::Code(code)) => code.fmt(f),
            Some(ExitStatus::Signal { number, .. }) => write!(f, "signal {number}"),
            None => f.write_str("unknown"),
        }
    }
}

/// Why it ended, in the API's words.
struct Why(ExitReason);

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            ExitReason::Own => "SELF",
            ExitReason::Ended(Cause::Timeout) => "TIMEOUT",
            ExitReason::Ended(Cause::Disconnect) => "DISCONNECT",
            ExitReason::Ended(Cause::Shutdown) => "SHUTDOWN",
            ExitReason::Signal => "SIGNAL",
            ExitReason::Lost => "LOST_EXIT",
        })
    }
}

/// Logs how `execution` ended.
pub(crate) fn ended(execution: &Execution, exit: &Exit) {
    let program = execution.spec.argv.first();
    let program = program
        .map(|program| program.to_string_lossy())
        .unwrap_or_default();
    let program: String = program.chars().take(PROGRAM_CHARACTERS).collect();
    let counters = &execution.counters;
    let bytes = counters.stdout_bytes() + counters.stderr_bytes();
    tracing::info!(
        id = %execution.id,
        caller = %execution.caller,
        through = %execution.through,
        program,
        exit = %Ending(exit.outcome.status),
        reason = %Why(exit.outcome.reason),
        wall_ms = exit.wall_time.as_millis(),
        bytes,
        "execution ended"
    );
}

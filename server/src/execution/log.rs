//! The line that each execution leaves in the log when it has ended. Never its arguments: they hold passwords.

use std::{fmt, sync::atomic::Ordering};

use super::Execution;
use crate::{process::Status, supervisor::event::Exit};

/// The most characters of a program's name.
const PROGRAM_CHARACTERS: usize = 256;

/// How it ended, for people.
struct Ending(Option<Status>);

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Status::Code(code)) => code.fmt(f),
            Some(Status::Signal { number, .. }) => write!(f, "signal {number}"),
            None => f.write_str("unknown"),
        }
    }
}

/// Logs how `execution` ended.
pub(super) fn ended(execution: &Execution, exit: &Exit) {
    let program = execution.spec.argv.first();
    let program = program
        .map(|program| program.to_string_lossy())
        .unwrap_or_default();
    let program: String = program.chars().take(PROGRAM_CHARACTERS).collect();
    let progress = &execution.progress;
    let bytes = [&progress.stdout_bytes, &progress.stderr_bytes];
    let bytes: u64 = bytes
        .iter()
        .map(|bytes| bytes.load(Ordering::Relaxed))
        .sum();
    tracing::info!(
        id = %execution.id,
        caller = %execution.caller,
        through = %execution.through,
        program,
        exit = %Ending(exit.outcome.status),
        reason = ?exit.outcome.reason,
        wall_ms = exit.wall_time.as_millis(),
        bytes,
        "execution ended"
    );
}

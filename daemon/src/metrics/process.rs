//! What every daemon has to tell of itself.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{MetricSource, Samples};
use crate::logging;

/// This process.
pub(super) struct Process {
    version: &'static str,
    /// Seconds since 1970.
    started: u64,
}

impl Process {
    /// It has just been started.
    pub(super) fn new(version: &'static str) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            version,
            started: started.map_or(0, |since| since.as_secs()),
        }
    }
}

impl MetricSource for Process {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let help = "The version that serves.";
        samples.info("remex_build_info", help, "version", self.version)?;
        let help = "When the daemon was started, since 1970.";
        samples.gauge("process_start_time_seconds", help, self.started)?;
        let help = "Log lines that were dropped because nobody read the log.";
        samples.counter("remex_log_lines_dropped", help, logging::dropped())
    }
}

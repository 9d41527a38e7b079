//! What all executions of the server come to, for metrics.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use remex_daemon::metrics::{MetricSource, Samples};
use remex_supervisor::{
    journal::JournalCosts,
    lifecycle::{
        outcome::{Cause, ExitReason, Outcome},
        totals::{DURATION_BOUNDS, DurationCounts, DurationHistogram, Totals},
    },
    process::ExitStatus,
};

use super::Executions;

/// How executions end, as metrics tell them apart.
const OUTCOMES: [&str; 7] = [
    "success",
    "failure",
    "signal",
    "timeout",
    "disconnect",
    "shutdown",
    "lost",
];

/// The sums.
#[derive(Debug, Default)]
pub struct Measures {
    totals: Arc<Totals>,
    spawns: DurationHistogram,
    ended: [AtomicU64; OUTCOMES.len()],
    journal_bytes: AtomicU64,
    journal_syncs: AtomicU64,
}

impl Measures {
    /// What the engines of executions add to.
    pub fn totals(&self) -> &Arc<Totals> {
        &self.totals
    }

    /// A command was started, which took so long.
    pub fn spawned(&self, took: Duration) {
        self.spawns.record(took);
    }

    /// A durable execution has ended, whose journal has cost this.
    pub fn journaled(&self, costs: JournalCosts) {
        self.journal_bytes
            .fetch_add(costs.written_bytes, Ordering::Relaxed);
        self.journal_syncs.fetch_add(costs.syncs, Ordering::Relaxed);
    }

    /// What journals have cost, those that this process wrote by itself too.
    fn journals(&self) -> JournalCosts {
        let own = JournalCosts::of_this_process();
        let (bytes, syncs) = (&self.journal_bytes, &self.journal_syncs);
        JournalCosts {
            written_bytes: own
                .written_bytes
                .saturating_add(bytes.load(Ordering::Relaxed)),
            syncs: own.syncs.saturating_add(syncs.load(Ordering::Relaxed)),
        }
    }

    /// An execution has ended.
    pub fn ended(&self, outcome: &Outcome) {
        self.ended[kind(outcome)].fetch_add(1, Ordering::Relaxed);
    }
}

/// The index in [`OUTCOMES`].
fn kind(outcome: &Outcome) -> usize {
    match (outcome.reason, outcome.status) {
        (ExitReason::Ended(Cause::Timeout), _) => 3,
        (ExitReason::Ended(Cause::Disconnect), _) => 4,
        (ExitReason::Ended(Cause::Shutdown), _) => 5,
        (ExitReason::Lost, _) | (_, None) => 6,
        (ExitReason::Own | ExitReason::Signal, Some(ExitStatus::Code(0))) => 0,
        (ExitReason::Own | ExitReason::Signal, Some(ExitStatus::Code(_))) => 1,
        (ExitReason::Own | ExitReason::Signal, Some(ExitStatus::Signal { .. })) => 2,
    }
}

/// The executions of a server, as a source of metrics.
#[derive(Debug)]
pub struct Measured(pub Arc<Executions>);

impl MetricSource for Measured {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let measures = self.0.measures();
        let totals = measures.totals();
        let help = "Executions that run.";
        samples.gauge("remex_executions_running", help, number(self.0.running()))?;
        let help = "Executions that may run at once.";
        samples.gauge("remex_executions_limit", help, number(self.0.max()))?;
        let ended = OUTCOMES.iter().zip(&measures.ended);
        samples.counters(
            "remex_executions_ended",
            "Executions that have ended, by how.",
            ["outcome"],
            ended.map(|(outcome, count)| ([*outcome], count.load(Ordering::Relaxed))),
        )?;
        samples.counters(
            "remex_stream_bytes",
            "Bytes that commands were given on stdin, and that were read of their output.",
            ["stream"],
            [
                (["stdin"], totals.stdin_bytes()),
                (["stdout"], totals.stdout_bytes()),
                (["stderr"], totals.stderr_bytes()),
            ],
        )?;
        let help = "Executions that wait for a reader to take their output.";
        samples.gauge("remex_executions_blocked", help, totals.held_up())?;
        let help = "How long executions waited for readers that have taken their output since.";
        samples.seconds(
            "remex_executions_blocked_seconds",
            help,
            totals.held_up_time(),
        )?;
        let journals = measures.journals();
        let help = "Bytes written to journals of durable executions, of those that have ended.";
        samples.counter("remex_journal_written_bytes", help, journals.written_bytes)?;
        let help = "How often journals of durable executions that have ended, and request ids, were synced to disk.";
        samples.counter("remex_journal_syncs", help, journals.syncs)?;
        let help = "From a request that may start a command to the execution of its program.";
        durations(
            samples,
            "remex_spawn_seconds",
            help,
            measures.spawns.counts(),
        )?;
        let help = "From the end of a command to the last of its output that was read.";
        durations(samples, "remex_drain_seconds", help, totals.drains())
    }
}

fn durations(
    samples: &mut Samples<'_>,
    name: &str,
    help: &str,
    DurationCounts { buckets, sum }: DurationCounts,
) -> fmt::Result {
    samples.durations(name, help, &DURATION_BOUNDS, &buckets, sum)
}

fn number(count: usize) -> u64 {
    count as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_outcome() {
        let code = |code| Some(ExitStatus::Code(code));
        let killed = Some(ExitStatus::Signal {
            number: 9,
            core_dumped: false,
        });
        for (reason, status, outcome) in [
            (ExitReason::Own, code(0), "success"),
            (ExitReason::Own, code(255), "failure"),
            (ExitReason::Own, killed, "signal"),
            (ExitReason::Signal, killed, "signal"),
            // Whatever code it then exits with.
            (ExitReason::Ended(Cause::Timeout), code(0), "timeout"),
            (ExitReason::Ended(Cause::Disconnect), killed, "disconnect"),
            (ExitReason::Ended(Cause::Shutdown), killed, "shutdown"),
            (ExitReason::Lost, None, "lost"),
            (ExitReason::Own, None, "lost"),
        ] {
            let ended = Outcome {
                reason,
                status,
                ..Outcome::LOST
            };
            assert_eq!(OUTCOMES[kind(&ended)], outcome, "{ended:?}");
        }
    }
}

//! Signals that are forwarded, and those that tell of the terminal. One that was ignored when remex began stays ignored,
//! so that nohup and background jobs work.

use std::{
    fs,
    future::{pending, poll_fn},
    task::Poll,
};

use remex_client::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

use crate::cli::Failure;

const FORWARDED: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// The signals to be forwarded.
pub(in crate::cli) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// From now on they end remex no more.
    pub(in crate::cli) fn watch() -> Result<Self, Failure> {
        // A system without /proc ignores nothing as far as we can tell.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let watched = FORWARDED
            .into_iter()
            .filter(|&signal| !ignores(&status, signal))
            .map(|number| {
                let kind = SignalKind::from_raw(number.number().into());
                Ok((number, watch(kind)?))
            });
        watched.collect::<Result<_, Failure>>().map(Self)
    }

    /// The next one. Cancel-safe.
    pub(in crate::cli) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (number, signal) in &mut self.0 {
                if let Poll::Ready(Some(())) = signal.poll_recv(cx) {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// What happens to the local terminal, if the command has it.
pub(in crate::cli) struct Changes(Option<(unix::Signal, unix::Signal)>);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It has another size.
    Size,
    /// remex was stopped, and goes on: whoever had the terminal meanwhile may have changed anything.
    Continued,
}

impl Changes {
    pub(in crate::cli) fn watch(on_terminal: bool) -> Result<Self, Failure> {
        let continued = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
        let changes = on_terminal
            .then(|| Ok::<_, Failure>((watch(SignalKind::window_change())?, watch(continued)?)));
        changes.transpose().map(Self)
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Change {
        let Some((sizes, continued)) = &mut self.0 else {
            return pending().await;
        };
        tokio::select! {
            Some(()) = continued.recv() => Change::Continued,
            Some(()) = sizes.recv() => Change::Size,
            else => pending().await,
        }
    }
}

fn watch(kind: SignalKind) -> Result<unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(format!("cannot watch signals: {error}")))
}

/// Whether a process whose /proc/PID/status is `status` ignores `signal`.
fn ignores(status: &str, signal: Signal) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.number() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "Name:\tremex\nSigBlk:\t0000000000000006\nSigIgn:\t0000000000001001\n";
        assert!(ignores(status, Signal::HUP));
        assert!(ignores(status, Signal::PIPE));
        assert!(!ignores(status, Signal::INT));
        assert!(!ignores("", Signal::HUP));
    }
}

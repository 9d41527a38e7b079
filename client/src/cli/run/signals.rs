//! Signals that are forwarded, and changes of the terminal's size. One that was ignored when remex began stays ignored,
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
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// From now on they end remex no more.
    pub(super) fn watch() -> Result<Self, Failure> {
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
    pub(super) async fn next(&mut self) -> Signal {
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

/// Changes of the terminal's size, if there is one.
pub(super) struct Resizes(Option<unix::Signal>);

impl Resizes {
    pub(super) fn watch(on_terminal: bool) -> Result<Self, Failure> {
        let resizes = on_terminal.then(|| watch(SignalKind::window_change()));
        resizes.transpose().map(Self)
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) {
        if let Some(resizes) = &mut self.0
            && resizes.recv().await.is_some()
        {
            return;
        }
        pending::<()>().await;
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

//! Signals: the first SIGTERM or SIGINT asks for a drain, the second ends the process there and then, with 128 and its
//! number (143, 130) as the exit code.

use std::{io, process};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Exit;

/// Watches for signals from now on, in a task of the current runtime; the token is cancelled by the first one.
pub fn on_signals() -> io::Result<CancellationToken> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    // Ends with the runtime: a second signal may come as long as there is one.
    tokio::spawn(async move {
        let name = signals.next().await.name;
        tracing::info!("{name}: draining; once more to exit at once");
        stopping.cancel();
        exit_at_once(&signals.next().await);
    });
    Ok(stop)
}

#[expect(
    clippy::exit,
    reason = "the second signal means at once, whatever else is still running"
)]
fn exit_at_once(received: &Received) -> ! {
    tracing::warn!("{} again: exiting without draining", received.name);
    process::exit(received.exit.code().into())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

struct Received {
    name: &'static str,
    exit: Exit,
}

impl Signals {
    async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received { name: "SIGTERM", exit: Exit::Signal(15) },
            _ = self.interrupt.recv() => Received { name: "SIGINT", exit: Exit::Signal(2) },
        }
    }
}

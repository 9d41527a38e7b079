//! What the scenarios stand on: the built programs, a daemon of one's own, a look at the machine's processes.

use std::{future::Future, time::Duration};

#[macro_use]
pub(crate) mod tools;

pub(crate) mod binaries;
pub(crate) mod calls;
pub(crate) mod command_line;
pub(crate) mod daemon;
pub(crate) mod examples;
pub(crate) mod home;
pub(crate) mod http2;
pub(crate) mod processes;
pub(crate) mod relay;
pub(crate) mod terminal;

pub(crate) use self::{daemon::Daemon, home::Home, processes::Marker};

/// Longer than anything here takes, on a busy machine too; only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How often something is looked at that cannot be waited for.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// `future`'s output; a test that would hang fails by name instead.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    // Boxed, since the futures of generated clients are large.
    tokio::time::timeout(PATIENCE, Box::pin(future))
        .await
        .unwrap_or_else(|_| panic!("{what} took longer than {PATIENCE:?}"))
}

/// What `look` finds, once it finds it.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    soon(what, async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await
}

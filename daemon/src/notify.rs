//! What the service manager is told over `NOTIFY_SOCKET`, as sd_notify(3) has it: that the daemon serves, that it drains, and,
//! where there is a watchdog, that its runtime turns. Without that variable nothing is said. A manager that does not read
//! holds up a blocking thread, and nobody else.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval},
};

use crate::shutdown::Shutdown;

/// The watchdog is told so many times in the time after which it would end the daemon, as sd_watchdog_enabled(3) recommends.
const PER_WATCHDOG_TIME: u32 = 2;

/// However short the watchdog's time is, it is told no more often.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// The daemon serves: every address is bound, and the ready file is written. Call it in the runtime.
pub fn ready() {
    drop(tell(NotifyState::Ready));
}

/// Tells what comes after `ready`, until the process ends. It is a task of the runtime that serves, so that the watchdog is
/// told only as long as that runtime takes up work.
pub(crate) async fn watch(shutdown: Shutdown) {
    let draining = async {
        shutdown.drain().cancelled().await;
        drop(tell(NotifyState::Stopping));
    };
    tokio::join!(draining, feed_watchdog());
}

async fn feed_watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval((time / PER_WATCHDOG_TIME).max(SHORTEST_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // No second one before the first has been taken.
        if tell(NotifyState::Watchdog).await.is_err() {
            return;
        }
    }
}

fn tell(state: NotifyState<'static>) -> JoinHandle<()> {
    spawn_blocking(move || {
        if let Err(error) = sd_notify::notify(&[state]) {
            tracing::warn!(%error, "the service manager cannot be reached by NOTIFY_SOCKET");
        }
    })
}

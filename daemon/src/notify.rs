//! What the service manager is told over `NOTIFY_SOCKET`, as sd_notify(3) has it: that the daemon serves, that it reads its
//! configuration again and has done so, that it drains, and, where there is a watchdog, that its runtime turns. Without that variable nothing is said. A manager that does not read
//! holds up a blocking thread, and nobody else.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::{
    sync::{Mutex, MutexGuard},
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::shutdown::Shutdown;

/// The watchdog is told so many times in the time after which it would end the daemon, as sd_watchdog_enabled(3) recommends.
const PER_WATCHDOG_TIME: u32 = 2;

/// However short the watchdog's time is, it is told no more often.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// A manager that does not take that the daemon drains, or reloads, is waited for so long.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(100);

/// The daemon serves: every address is bound, and the ready file is written. Call it in the runtime.
pub fn ready() {
    drop(tell(vec![NotifyState::Ready]));
}

/// A reload, from before anything of it is done. Whoever waits for it with the manager, as `systemctl reload` does, waits
/// until this is dropped, whatever has come of the reload.
#[derive(Debug)]
#[must_use = "the manager waits until this is dropped"]
pub struct Reloading(Option<Telling>);

/// Held while a reload is told of: a manager that hangs is not told of the next one, too.
static TURN: Mutex<()> = Mutex::const_new(());

#[derive(Debug)]
struct Telling {
    turn: MutexGuard<'static, ()>,
    /// Until the manager has taken it.
    beginning: Option<JoinHandle<()>>,
}

impl Reloading {
    /// Tells that a reload begins. A manager that does not take that holds it up for 100 ms at most.
    pub async fn begin() -> Self {
        let turn = timeout(LAST_WORDS, TURN.lock()).await;
        let (Ok(turn), Ok(now)) = (turn, NotifyState::monotonic_usec_now()) else {
            return Self(None);
        };
        let mut beginning = tell(vec![NotifyState::Reloading, now]);
        let is_told = timeout(LAST_WORDS, &mut beginning).await.is_ok();
        Self(Some(Telling {
            turn,
            beginning: (!is_told).then_some(beginning),
        }))
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        if let Some(Telling { turn, beginning }) = self.0.take() {
            tokio::spawn(async move {
                if let Some(beginning) = beginning {
                    // However late the manager takes that, the end is told behind it.
                    let _ = beginning.await;
                }
                let _ = tell(vec![NotifyState::Ready]).await;
                drop(turn);
            });
        }
    }
}

/// Tells that the daemon drains, once it does.
pub(crate) async fn stopping(shutdown: Shutdown) {
    shutdown.drain().cancelled().await;
    // Whether it could be told is in the log.
    let _ = tell(vec![NotifyState::Stopping]).await;
}

/// Tells that the runtime turns, until the process ends. It is a task of the runtime that serves, so that this is told only as
/// long as that runtime takes up work.
pub(crate) async fn watchdog() {
    let Some(time) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval((time / PER_WATCHDOG_TIME).max(SHORTEST_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // No second one before the first has been taken.
        if tell(vec![NotifyState::Watchdog]).await.is_err() {
            return;
        }
    }
}

/// In one message.
fn tell(states: Vec<NotifyState<'static>>) -> JoinHandle<()> {
    spawn_blocking(move || {
        if let Err(error) = sd_notify::notify(&states) {
            tracing::warn!(%error, "the service manager cannot be reached by NOTIFY_SOCKET");
        }
    })
}

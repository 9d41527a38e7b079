//! Signals. The first one that asks for an end begins a drain, the second one cuts it short: the process ends within
//! [`EXIT_WITHIN`] with 128 and the signal's number (143, 130) as its exit code, whatever its other threads are stuck in.

use std::{
    fs, io, process,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{DaemonExit, logging};

/// How long the process is there after the second signal.
pub const EXIT_WITHIN: Duration = Duration::from_millis(900);

/// What signals have asked for so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    now: CancellationToken,
    reload: watch::Sender<u64>,
    asked: Arc<Asked>,
    exit: Arc<OnceLock<DaemonExit>>,
}

impl Shutdown {
    /// Cancelled by the first signal: nothing new is begun.
    pub fn drain(&self) -> &CancellationToken {
        &self.drain
    }

    /// Cancelled by the second one: what still runs is killed.
    pub fn now(&self) -> &CancellationToken {
        &self.now
    }

    /// Changed by SIGHUP, unless that asks for an end: what can be read again is, by everybody who has subscribed.
    pub fn reload(&self) -> watch::Receiver<u64> {
        self.reload.subscribe()
    }

    /// Asks for an end as a signal does; `now` for one at once, as a second signal does. To ask for the same again is no more.
    pub fn ask(&self, now: bool) {
        let is_first = !self.asked.once.swap(true, Ordering::Relaxed) && !self.drain.is_cancelled();
        self.asked
            .times
            .add_permits(usize::from(is_first) + usize::from(now));
    }

    /// How a process ends that has done what it was asked for.
    pub fn exit(&self) -> DaemonExit {
        self.exit.get().copied().unwrap_or(DaemonExit::Success)
    }
}

/// What was asked for without a signal.
#[derive(Debug)]
struct Asked {
    once: AtomicBool,
    /// A permit for each that has not been taken up.
    times: Semaphore,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            once: AtomicBool::new(false),
            times: Semaphore::new(0),
        }
    }
}

/// Watches for signals from now on, in a thread of its own, so that no task can hold it up.
pub fn on_signals() -> io::Result<Shutdown> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _context = runtime.enter();
        Signals::new()?
    };
    let shutdown = Shutdown::default();
    let told = shutdown.clone();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || watch(&runtime, signals, &told))?;
    Ok(shutdown)
}

fn watch(runtime: &Runtime, mut signals: Signals, shutdown: &Shutdown) {
    runtime.block_on(async {
        let name = signals.next(shutdown).await.name;
        tracing::info!("{name}: draining; once more to exit at once");
        shutdown.drain.cancel();
        let second = signals.next(shutdown).await;
        tracing::warn!("{} again: exiting without draining", second.name);
        let _ = shutdown.exit.set(second.exit);
        shutdown.now.cancel();
        sleep(EXIT_WITHIN.saturating_sub(super::console::LAST_WORDS)).await;
        exit(second.exit);
    });
}

#[expect(
    clippy::exit,
    reason = "the second signal means at once, whatever else is still running"
)]
fn exit(exit: DaemonExit) -> ! {
    logging::flush();
    process::exit(exit.code().into())
}

/// The signals that ask for an end, and SIGHUP, which may ask for something else.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// `None`: whoever started the process has it ignored, as nohup does.
    hangup: Option<Signal>,
    hangup_ends: bool,
}

#[derive(Clone, Copy)]
struct Received {
    name: &'static str,
    exit: DaemonExit,
}

impl Received {
    /// Whoever asks for an end has it as it wants it.
    const ASKED: Self = Self {
        name: "remexd drain",
        exit: DaemonExit::Success,
    };

    const fn new(name: &'static str, number: u8) -> Self {
        let exit = DaemonExit::Signal(number);
        Self { name, exit }
    }
}

impl Signals {
    fn new() -> io::Result<Self> {
        let hangup = if is_ignored(libc::SIGHUP) {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup,
            hangup_ends: has_terminal(),
        })
    }

    /// The next one that asks for an end, or whoever does without one; those that do not are passed on.
    async fn next(&mut self, shutdown: &Shutdown) -> Received {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Received::new("SIGTERM", 15),
                _ = self.interrupt.recv() => return Received::new("SIGINT", 2),
                _ = self.quit.recv() => return Received::new("SIGQUIT", 3),
                () = asked(&shutdown.asked) => return Received::ASKED,
                () = received(self.hangup.as_mut()) => {
                    if self.hangup_ends {
                        return Received::new("SIGHUP", 1);
                    }
                    tracing::info!("SIGHUP: reading again what can be");
                    shutdown.reload.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
        }
    }
}

async fn asked(asked: &Asked) {
    if let Ok(permit) = asked.times.acquire().await {
        permit.forget();
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the process was started on a terminal, which sends SIGHUP when it goes: it has a controlling one.
fn has_terminal() -> bool {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open("/dev/tty", flags, Mode::empty());
    !matches!(
        opened,
        Err(Errno::NXIO | Errno::NOENT | Errno::ACCESS | Errno::PERM)
    )
}

/// Whether whoever started the process has it ignore a signal, as nohup does; where the kernel does not tell, it has not.
fn is_ignored(number: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

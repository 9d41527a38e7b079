//! One attack: what the server keeps in memory before, at worst and after, and an honest client's calls beside it and
//! without it.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use remex_client::{Client, Command, Endpoint};
use tokio::{
    runtime::Builder,
    sync::{Mutex, MutexGuard},
    task::{JoinHandle, spawn_blocking},
    time::sleep,
};

use super::figures::{Cpu, Latencies, Memory, mib};
use crate::{
    harness::soon,
    supervision::support::{Server, is_long},
};

const MIB: u64 = 1 << 20;

/// An honest p99 may be so many times that of quiet times,
const FACTOR: u32 = 5;
/// which, where it is shorter, counts as this: at 10 ms a call the machine's other work decides.
const QUIET: Duration = Duration::from_millis(50);
/// Honest calls before the attack.
const QUIET_CALLS: usize = 100;
/// How long memory is given to be flat again.
const CALM: Duration = Duration::from_secs(15);

/// Ends a test that is too much for a short run.
macro_rules! long_only {
    () => {
        if !$crate::supervision::support::is_long() {
            return;
        }
    };
}

/// Figures of one machine: attacks take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// What an attack may cost in memory, in MiB above what the server kept before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// At worst.
    pub(crate) peak: u64,
    /// Afterwards.
    pub(crate) after: u64,
}

/// A server that is to be attacked.
pub(crate) struct Trial {
    pub(crate) server: Server,
    _turn: MutexGuard<'static, ()>,
}

/// How long an attack without an end of its own goes on.
pub(crate) fn attack_time() -> Duration {
    Duration::from_secs(if is_long() { 10 } else { 1 })
}

/// Repeats `attack` until [`attack_time`] is over; what blocks then is dropped.
pub(crate) async fn for_its_time(attack: impl AsyncFn()) {
    let repeated = async {
        loop {
            attack().await;
        }
    };
    // Its end is the clock's.
    let _ = tokio::time::timeout(attack_time(), repeated).await;
}

/// One honest call; how long it took.
pub(crate) async fn honest_call(client: &Client) -> Duration {
    let begin = Instant::now();
    let outcome = soon("an honest call", client.run(Command::new("true"))).await;
    assert_eq!(outcome.expect("it is served").exit.status_code(), 0);
    begin.elapsed()
}

impl Trial {
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let turn = TURN.lock().await;
        Self::of(Server::start(flags).await, turn)
    }

    /// Of a server that somebody else has started, having waited for the [`turn`].
    pub(crate) fn of(server: Server, turn: MutexGuard<'static, ()>) -> Self {
        Self {
            server,
            _turn: turn,
        }
    }

    /// Attacks, prints the figures, and holds them to `bounds` in a long run; in a short one, the server has served on.
    pub(crate) async fn attack(
        self,
        name: &str,
        bounds: Bounds,
        attack: impl Future<Output = ()>,
    ) -> Self {
        let pid = self.server.daemon.pid();
        let client = &self.server.client;
        let mut quiet = Latencies::default();
        for _ in 0..QUIET_CALLS {
            quiet.push(honest_call(client).await);
        }
        Memory::forget_peak(pid);
        let before = Memory::of(pid).now;

        let beside = Beside::start(self.server.daemon.endpoint());
        yield_to_others();
        let (own, server) = (Cpu::of_this_thread(), Cpu::of(pid));
        Box::pin(attack).await;
        let own = Cpu::of_this_thread().since(own);
        let server = Cpu::of(pid).since(server);
        let beside = beside.end().await;
        let peak = Memory::of(pid).peak;
        let most_after = before + bounds.after * MIB;
        let after = calm(pid, most_after).await;

        eprintln!(
            "{name}: memory {} before, {} at worst, {} after",
            mib(before),
            mib(peak),
            mib(after)
        );
        eprintln!("{name}: honest {beside} (quiet {quiet})");
        eprintln!(
            "{name}: the server ran {:.1?} and waited {:.1?} for it; the attacker ran {:.1?}",
            server.ran, server.waited, own.ran
        );
        if is_long() {
            let most = before + bounds.peak * MIB;
            assert!(
                peak <= most,
                "{name}: {} at worst, more than {}",
                mib(peak),
                mib(most)
            );
            assert!(
                after <= most_after,
                "{name}: {} after, more than {}",
                mib(after),
                mib(most_after)
            );
            let most = FACTOR * quiet.percentile(99).max(QUIET);
            let late = beside.percentile(99);
            assert!(
                late <= most,
                "{name}: an honest p99 of {late:?}, more than {most:?}"
            );
        }
        honest_call(client).await;
        self
    }

    pub(crate) async fn stop(self) {
        self.server.daemon.stop().await;
    }
}

/// From here on this thread, which attacks, gets the processor when nobody else wants it as much: where attackers are, their
/// work does not cost the server's processors.
fn yield_to_others() {
    const NICE: i32 = 10;
    let thread = rustix::thread::gettid();
    rustix::process::setpriority_process(Some(thread), NICE).expect("less priority");
}

/// An honest client on a thread of its own, so that its calls take no longer for what the attacker does in the test's.
struct Beside {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Latencies>,
}

impl Beside {
    fn start(endpoint: Endpoint) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let is_over = Arc::clone(&stop);
        let thread = spawn_blocking(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let client = Client::connect(&endpoint).await.expect("a connection");
                let mut latencies = Latencies::default();
                while !is_over.load(Ordering::Relaxed) {
                    latencies.push(honest_call(&client).await);
                }
                latencies
            })
        });
        Self { stop, thread }
    }

    async fn end(mut self) -> Latencies {
        self.stop.store(true, Ordering::Relaxed);
        (&mut self.thread)
            .await
            .expect("every honest call was served")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Waits for the next turn.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// What is kept in memory once that is no more than `most`, or [`CALM`] has passed.
async fn calm(pid: rustix::process::Pid, most: u64) -> u64 {
    let begin = Instant::now();
    loop {
        let now = Memory::of(pid).now;
        if now <= most || begin.elapsed() > CALM {
            return now;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

//! What flows through one command, each way: `cargo bench -p remex-server --bench streams`.
//!
//! A command's stdout to a client that copies nothing, and stdin from the same client to a command that reads it, beside a raw copy of
//! the same by tokio; the same two through a relay that is 50 ms away; ssh with aes128-gcm, if there is an sshd. All take turns
//! within each round; figures are medians over rounds, ratios medians of each round's. Beside them, what remexd keeps in
//! memory at most.
//!
//! `REMEX_BENCH_OTHER=/path/to/remexd` has an older build take turns with this one. `REMEX_SHORT=1` only shows that all of it runs.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod flow;
mod raw;
mod relay;
mod remexd;
mod ssh;
#[path = "../support/mod.rs"]
mod support;

use std::{env, path::Path, process, time::Instant};

use bytes::Bytes;
use remex_client::{Client, Command, Event, STDIN_CHUNK_BYTES};
use tokio::runtime::Runtime;

use self::{
    flow::{rate, stdout},
    raw::Raw,
    remexd::Remexd,
    ssh::Ssh,
    support::Outcome,
};

const MIB: u64 = 1 << 20;

/// What takes turns, in the order of the turns.
const NAMES: [&str; 10] = [
    "raw copy, stdout",
    "stdout",
    "raw copy, stdin",
    "stdin",
    "other build, stdout",
    "other build, stdin",
    "stdout, 50 ms away",
    "stdin, 50 ms away",
    "ssh, stdout",
    "ssh, stdin",
];
/// Of which each is a ratio, and what is asked for.
const RATIOS: [(usize, usize, Option<f64>); 8] = [
    (1, 0, Some(0.7)),
    (3, 2, None),
    (3, 1, Some(0.8)),
    (1, 4, Some(0.97)),
    (3, 5, Some(0.97)),
    (7, 6, Some(0.8)),
    (1, 8, None),
    (3, 9, None),
];

type Turns = [f64; NAMES.len()];

/// How much, and how often.
struct Size {
    rounds: usize,
    /// Bytes each way.
    bytes: u64,
    /// Bytes each way over the relay.
    far_bytes: u64,
}

const WHOLE: Size = Size {
    rounds: 7,
    bytes: 1024 * MIB,
    far_bytes: 64 * MIB,
};
const SHORT: Size = Size {
    rounds: 1,
    bytes: 16 * MIB,
    far_bytes: MIB,
};

/// Who takes turns.
struct Peers {
    runtime: Runtime,
    raw: Raw,
    remexd: Remexd,
    near: Client,
    far: Client,
    other: Option<(Remexd, Client)>,
    ssh: Option<Ssh>,
}

fn main() -> Outcome<()> {
    if let Some(served) = raw::serve().or_else(support::serve) {
        return served;
    }
    let size = if env::var("REMEX_SHORT").is_ok_and(|value| value == "1") {
        SHORT
    } else {
        WHOLE
    };
    let folder = tempfile::tempdir()?;
    let peers = Peers::start(folder.path())?;
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=size.rounds {
        let (turns, peak) = peers.round(&size)?;
        if round > 0 {
            rates.push(turns);
            peaks.push(peak);
        }
    }
    let Size {
        rounds,
        bytes,
        far_bytes,
    } = size;
    println!(
        "{} MiB each way, {} MiB over the relay, medians of {rounds} interleaved rounds",
        bytes / MIB,
        far_bytes / MIB
    );
    report(&rates);
    let peak = peaks.into_iter().max().unwrap_or(0);
    println!("  remexd's memory at most: {} MiB", peak / MIB);
    Ok(())
}

impl Peers {
    fn start(folder: &Path) -> Outcome<Self> {
        let runtime = support::runtime()?;
        let remexd = Remexd::start(&folder.join("remexd"), support::remexd()?)?;
        let other = match env::var_os("REMEX_BENCH_OTHER") {
            Some(program) => {
                let program = process::Command::new(program);
                let remexd = Remexd::start(&folder.join("other"), program)?;
                let client = runtime.block_on(remexd.client())?;
                Some((remexd, client))
            }
            None => None,
        };
        let ssh = Ssh::start(&folder.join("ssh"));
        if let Err(why) = &ssh {
            println!("skipped: ssh, since {why}");
        }
        Ok(Self {
            raw: Raw::start()?,
            near: runtime.block_on(remexd.client())?,
            far: runtime.block_on(relay::client(&remexd))?,
            other,
            ssh: ssh.ok(),
            remexd,
            runtime,
        })
    }

    /// Everybody's turn; who is not there has no figure. And remexd's memory at most.
    fn round(&self, size: &Size) -> Outcome<(Turns, u64)> {
        let mut turns = [f64::NAN; NAMES.len()];
        self.remexd.forget_peak()?;
        turns[0] = self.runtime.block_on(self.raw.stdout(size.bytes))?;
        turns[1] = self.runtime.block_on(stdout(&self.near, size.bytes))?;
        turns[2] = self.runtime.block_on(self.raw.stdin(size.bytes))?;
        turns[3] = self.runtime.block_on(stdin(&self.near, size.bytes))?;
        if let Some((_, client)) = &self.other {
            turns[4] = self.runtime.block_on(stdout(client, size.bytes))?;
            turns[5] = self.runtime.block_on(stdin(client, size.bytes))?;
        }
        turns[6] = self.runtime.block_on(stdout(&self.far, size.far_bytes))?;
        turns[7] = self.runtime.block_on(stdin(&self.far, size.far_bytes))?;
        if let Some(ssh) = &self.ssh {
            turns[8] = ssh.stdout(size.bytes)?;
            turns[9] = ssh.stdin(size.bytes)?;
        }
        Ok((turns, self.remexd.peak_bytes()?))
    }
}

/// Prints what has a figure.
fn report(rates: &[Turns]) {
    let column = |of: &dyn Fn(&Turns) -> f64| median(rates.iter().map(of).collect());
    for (index, name) in NAMES.iter().enumerate() {
        let rate = column(&|turns| turns[index]);
        if rate.is_finite() {
            println!("  {name:22}{rate:8.1} MB/s");
        }
    }
    for (over, under, goal) in RATIOS {
        let ratio = column(&|turns| turns[over] / turns[under]);
        let goal = goal.map_or_else(String::new, |goal| format!("  (goal {goal:.2})"));
        if ratio.is_finite() {
            println!("  {} / {}: {ratio:.2}{goal}", NAMES[over], NAMES[under]);
        }
    }
}

async fn stdin(client: &Client, bytes: u64) -> Outcome<f64> {
    let begun = Instant::now();
    let counted = Command::shell("exec cat >/dev/null");
    let mut interaction = client.interact(counted).await?;
    let mut stdin = interaction.stdin.take().ok_or("no stdin")?;
    let feed = tokio::spawn(async move {
        let chunk = Bytes::from(vec![0; usize::try_from(STDIN_CHUNK_BYTES).unwrap_or(0)]);
        for _ in 0..bytes / STDIN_CHUNK_BYTES {
            stdin.write(chunk.clone()).await?;
        }
        Ok::<(), remex_client::Ended>(())
    });
    while let Some(event) = interaction.next().await? {
        if let Event::Exited(exit) = event
            && !exit.success()
        {
            return Err(format!("{exit:?}").into());
        }
    }
    feed.await??;
    Ok(rate(bytes, begun))
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

//! What flows through one command, each way: `cargo bench -p remex-server --bench streams`.
//!
//! A command's stdout to a client that copies nothing, stdin from the same client to a command that reads it, and the same
//! two through a relay that is 50 ms away; beside them ssh with aes128-gcm, if there is an sshd. All take turns within each
//! round; figures and ratios are medians over rounds.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod relay;
mod remexd;
mod ssh;

use std::{error::Error, time::Instant};

use bytes::Bytes;
use remex_client::{Client, Command, Event, STDIN_CHUNK_BYTES};

use self::{remexd::Remexd, ssh::Ssh};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 7;
/// Bytes each way.
const BYTES: u64 = 1 << 30;
/// Bytes each way over the relay.
const FAR_BYTES: u64 = 64 << 20;

/// What takes turns, in the order of the turns.
const NAMES: [&str; 6] = [
    "stdout",
    "stdin",
    "stdout, 50 ms away",
    "stdin, 50 ms away",
    "ssh, stdout",
    "ssh, stdin",
];
/// Of which each is a ratio, and what is asked for.
const RATIOS: [(usize, usize, Option<f64>); 5] = [
    (1, 0, Some(0.8)),
    (3, 2, Some(0.8)),
    (0, 4, None),
    (1, 5, None),
    (5, 4, None),
];

fn main() -> Outcome<()> {
    if let Some(served) = remexd::serve() {
        return served;
    }
    let folder = tempfile::tempdir()?;
    let remexd = Remexd::start(&folder.path().join("remexd"))?;
    let ssh = Ssh::start(&folder.path().join("ssh"));
    if let Err(why) = &ssh {
        println!("without ssh: {why}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let near = runtime.block_on(remexd.client())?;
    let far = runtime.block_on(relay::client(&remexd))?;
    let mut rates: [Vec<f64>; NAMES.len()] = Default::default();
    // The first round warms up and is not counted.
    for round in 0..=ROUNDS {
        let mut turns = [f64::NAN; NAMES.len()];
        turns[0] = runtime.block_on(stdout(&near, BYTES))?;
        turns[1] = runtime.block_on(stdin(&near, BYTES))?;
        turns[2] = runtime.block_on(stdout(&far, FAR_BYTES))?;
        turns[3] = runtime.block_on(stdin(&far, FAR_BYTES))?;
        if let Ok(ssh) = &ssh {
            turns[4] = ssh.stdout(BYTES)?;
            turns[5] = ssh.stdin(BYTES)?;
        }
        if round > 0 {
            for (rates, rate) in rates.iter_mut().zip(turns) {
                rates.push(rate);
            }
        }
    }
    for (name, rates) in NAMES.iter().zip(&rates) {
        println!("  {name:22}{:8.1} MB/s", median(rates.clone()));
    }
    for (over, under, goal) in RATIOS {
        let ratios = rates[over].iter().zip(&rates[under]);
        let ratio = median(ratios.map(|(over, under)| over / under).collect());
        let goal = goal.map_or_else(String::new, |goal| format!("  (goal {goal:.2})"));
        println!("  {} / {}: {ratio:.2}{goal}", NAMES[over], NAMES[under]);
    }
    Ok(())
}

/// Megabytes a second.
fn rate(bytes: u64, begun: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let megabytes = bytes as f64 / 1e6;
    megabytes / begun.elapsed().as_secs_f64()
}

async fn stdout(client: &Client, bytes: u64) -> Outcome<f64> {
    let begun = Instant::now();
    let head = Command::new("head").args(["-c", &bytes.to_string(), "/dev/zero"]);
    let mut execution = client.start(head).await?;
    let mut received = 0;
    while let Some(event) = execution.next().await? {
        if let Event::Output { data, .. } = event {
            received += data.len() as u64;
        }
    }
    if received != bytes {
        return Err(format!("{received} of {bytes} bytes came").into());
    }
    Ok(rate(bytes, begun))
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

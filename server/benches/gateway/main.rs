//! What the gateway costs over gRPC, and what it gives over the tutorial's own server: `cargo bench -p remex-server --bench
//! gateway`. All take turns within each round; figures and ratios are medians over rounds. Needs python3.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod legacy;
mod peers;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use remex::v1;
use remex_client::Client;

use self::{
    legacy::Legacy,
    peers::{Python, Remexd, Standalone, Tutorial},
    support::Outcome,
};

const COMMAND: &str = "echo hi";
/// Rounds and runs of one client after the other.
const ROUNDS: usize = 20;
const RUNS: usize = 50;
/// With the tutorial's server as written each takes 44 ms.
const SLOW_RUNS: usize = 10;
/// Clients at once, their rounds, and the commands that they run in a round, together.
const CROWD: u32 = 32;
const CROWD_ROUNDS: usize = 7;
const CROWD_RUNS: u32 = 1600;
/// The long reply, and how often it is asked for.
const REPLY_BYTES: u32 = 200_000_000;
const REPLY_ROUNDS: usize = 9;

fn main() -> Outcome<()> {
    if let Some(served) = support::serve().or_else(peers::serve) {
        return served;
    }
    let folder = tempfile::tempdir()?;
    let runtime = support::runtime()?;
    let remexd = Remexd::start(&folder.path().join("remexd"))?;
    let written = Tutorial::start(&[])?;
    let nodelay = Tutorial::start(&["nodelay"])?;
    let standalone = Standalone::start(&remexd.grpc)?;
    runtime.block_on(against_grpc(&remexd, &standalone))?;
    against_tutorial(&remexd, &written, &nodelay)?;
    runtime.block_on(crowd(&remexd, &nodelay))?;
    long_reply(&remexd, &nodelay)
}

/// Rounds of measurements that take turns; the first warms up and is not counted.
fn interleaved<const N: usize>(
    rounds: usize,
    mut round: impl FnMut() -> Outcome<[f64; N]>,
) -> Outcome<Vec<[f64; N]>> {
    round()?;
    (0..rounds).map(|_| round()).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn column<const N: usize>(rounds: &[[f64; N]], index: usize) -> f64 {
    median(rounds.iter().map(|round| round[index]).collect())
}

fn ratio<const N: usize>(rounds: &[[f64; N]], over: usize, under: usize) -> f64 {
    median(
        rounds
            .iter()
            .map(|round| round[over] / round[under])
            .collect(),
    )
}

/// The median of a client's runs, in microseconds.
fn p50(times: &[Duration]) -> f64 {
    median(times.iter().map(|time| time.as_secs_f64() * 1e6).collect())
}

async fn against_grpc(remexd: &Remexd, standalone: &Standalone) -> Outcome<()> {
    let client = Client::connect(&remexd.grpc.parse()?).await?;
    let mut legacy = [
        Legacy::connect(remexd.json_header)?,
        Legacy::connect(standalone.address)?,
    ];
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..RUNS {
            let begin = Instant::now();
            run(&client).await?;
            times[0].push(begin.elapsed());
            for (legacy, times) in legacy.iter_mut().zip(&mut times[1..]) {
                let begin = Instant::now();
                tokio::task::block_in_place(|| legacy.run(COMMAND))?;
                times.push(begin.elapsed());
            }
        }
        if round > 0 {
            rounds.push(times.map(|times| p50(&times)));
        }
    }
    println!("{COMMAND:?}, p50 of {RUNS} runs, medians of {ROUNDS} rounds");
    println!("  gRPC                     {:>9.0} µs", column(&rounds, 0));
    for (name, index, goal) in [
        ("gateway in remexd       ", 1, 1.05),
        ("gateway of its own      ", 2, 1.12),
    ] {
        println!(
            "  {name} {:>9.0} µs, {:.2} of gRPC (goal {goal:.2})",
            column(&rounds, index),
            ratio(&rounds, index, 0)
        );
    }
    Ok(())
}

async fn run(client: &Client) -> Outcome<()> {
    let request = v1::RunRequest {
        command: Some(v1::Command {
            shell: COMMAND.into(),
            ..v1::Command::default()
        }),
        ..v1::RunRequest::default()
    };
    let response = client.exec().run(request).await?.into_inner();
    if response.stdout_data != b"hi\n"[..] {
        return Err("the command did not print what it should".into());
    }
    Ok(())
}

fn against_tutorial(remexd: &Remexd, written: &Tutorial, nodelay: &Tutorial) -> Outcome<()> {
    let mut python = Python::start()?;
    let rounds = interleaved(ROUNDS, || {
        Ok([
            python.p50(remexd.json_header.port(), RUNS, COMMAND)?,
            python.p50(written.address.port(), SLOW_RUNS, COMMAND)?,
            python.p50(nodelay.address.port(), RUNS, COMMAND)?,
        ])
    })?;
    println!("The same with the tutorial's client in Python");
    println!("  gateway                  {:>9.0} µs", column(&rounds, 0));
    println!(
        "  tutorial as written      {:>9.0} µs, the gateway {:.3} of it (goal 1/30, 0.033)",
        column(&rounds, 1),
        ratio(&rounds, 0, 1)
    );
    println!(
        "  tutorial with NODELAY    {:>9.0} µs, the gateway {:.2} of it (goal 1.05)",
        column(&rounds, 2),
        ratio(&rounds, 0, 2)
    );
    Ok(())
}

async fn crowd(remexd: &Remexd, nodelay: &Tutorial) -> Outcome<()> {
    let mut rounds = Vec::new();
    for round in 0..=CROWD_ROUNDS {
        let mut rates = [0.0; 2];
        for (rate, address) in rates.iter_mut().zip([remexd.json_header, nodelay.address]) {
            *rate = legacy::rate(address, CROWD, CROWD_RUNS, COMMAND).await?;
        }
        if round > 0 {
            rounds.push(rates);
        }
    }
    println!("{CROWD} clients at once, medians of {CROWD_ROUNDS} rounds");
    println!(
        "  tutorial with NODELAY    {:>9.0} execs/s",
        column(&rounds, 1)
    );
    println!(
        "  gateway                  {:>9.0} execs/s, {:.2} of it (goal 2)",
        column(&rounds, 0),
        ratio(&rounds, 0, 1)
    );
    Ok(())
}

fn long_reply(remexd: &Remexd, nodelay: &Tutorial) -> Outcome<()> {
    let rounds = interleaved(REPLY_ROUNDS, || {
        Ok([
            legacy::reply_rate(nodelay.address, REPLY_BYTES)?,
            legacy::reply_rate(remexd.json_header, REPLY_BYTES)?,
            legacy::bare_reply_rate(remexd.length, REPLY_BYTES)?,
        ])
    })?;
    println!("A reply of 200 MB, medians of {REPLY_ROUNDS} rounds");
    println!(
        "  tutorial, no digest      {:>9.0} MB/s",
        column(&rounds, 0)
    );
    for (name, index) in [
        ("gateway, json-header    ", 1),
        ("gateway, length         ", 2),
    ] {
        println!(
            "  {name} {:>9.0} MB/s, {:.2} of it (goal 1.0)",
            column(&rounds, index),
            ratio(&rounds, index, 0)
        );
    }
    Ok(())
}

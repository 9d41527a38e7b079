//! Many at once: how many commands a second, and how late the slowest are.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use remex_client::Client;

use crate::{floor::Floor, median, median_figure, run, support::Outcome};

/// As many at once.
const CROWD: u32 = 32;
/// Of each, in a round.
const RUNS: u32 = 25;
const ROUNDS: usize = 9;

/// Prints what [`CROWD`] callers get of the server behind `client`, beside as many threads of the floor, and as many callers of
/// the other build.
pub(crate) async fn measure(
    client: &Client,
    other: Option<&Client>,
    floor: &mut Floor,
) -> Outcome<()> {
    let (mut local, mut remote, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut middle, mut late, mut over_other) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=ROUNDS {
        let begin = Instant::now();
        floor.run(RUNS, CROWD)?;
        let floor_rate = rate(begin);
        let begin = Instant::now();
        let times = try_join_all((0..CROWD).map(|_| caller(client))).await?;
        let server_rate = rate(begin);
        let begin = Instant::now();
        if let Some(other) = other {
            try_join_all((0..CROWD).map(|_| caller(other))).await?;
        }
        let other_rate = rate(begin);
        if round == 0 {
            continue;
        }
        over_other.push(server_rate / other_rate);
        let mut times = times.concat();
        times.sort_unstable();
        middle.push(times[times.len() / 2]);
        late.push(times[times.len() * 99 / 100]);
        local.push(floor_rate);
        remote.push(server_rate);
        ratios.push(server_rate / floor_rate);
    }
    let late_ratio = late
        .iter()
        .zip(&middle)
        .map(|(late, middle)| late.as_secs_f64() / middle.as_secs_f64())
        .collect();
    println!("{CROWD} at once, medians of {ROUNDS} interleaved rounds");
    println!(
        "  local vfork               {:7.0} a second",
        median_figure(local)
    );
    println!(
        "  Run, small server         {:7.0} a second  {:.2} of it (goal 0.85)",
        median_figure(remote),
        median_figure(ratios)
    );
    println!(
        "  p50 {:.1} ms, p99 {:.1} ms   {:.1} times p50 (goal 2.5)",
        median(middle).as_secs_f64() * 1e3,
        median(late).as_secs_f64() * 1e3,
        median_figure(late_ratio)
    );
    if other.is_some() {
        println!(
            "  {:.3} of the other build (goal 0.97)",
            median_figure(over_other)
        );
    }
    Ok(())
}

async fn caller(client: &Client) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(RUNS as usize);
    for _ in 0..RUNS {
        let begin = Instant::now();
        run(client).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

fn rate(begin: Instant) -> f64 {
    f64::from(CROWD * RUNS) / begin.elapsed().as_secs_f64()
}

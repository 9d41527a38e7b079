//! What isolation adds to a warm Run.

use remex::v1::{Isolation, isolation::Network};
use tokio::runtime::Runtime;

use super::{Outcome, RUNS, Site, median, p50};

/// What it may add at most, and what is hoped for, in microseconds.
const MOST: f64 = 1000.0;
const GOAL: f64 = 100.0;

/// Prints it.
pub(crate) fn measure(runtime: &Runtime, site: &Site, rounds: usize) -> Outcome<()> {
    let (_server, client) = site.start(runtime, 0)?;
    let files = Isolation {
        execute_paths: ["/bin", "/usr", "/lib"].map(String::from).into(),
        write_paths: vec!["/tmp".into()],
        ..Isolation::default()
    };
    let network = Isolation {
        network: Network::None.into(),
        ..Isolation::default()
    };
    let both = Isolation {
        network: Network::None.into(),
        ..files.clone()
    };
    let kinds = [
        ("Landlock", files),
        ("NETWORK_NONE", network),
        ("both", both),
    ];
    let mut turns = Vec::new();
    // The first round warms up and is not counted.
    for _ in 0..=rounds {
        let without = runtime.block_on(p50(&client, None))?;
        let with = |(_, isolation): &(_, Isolation)| -> Outcome<f64> {
            Ok(runtime.block_on(p50(&client, Some(isolation)))? - without)
        };
        turns.push(kinds.iter().map(with).collect::<Outcome<Vec<_>>>()?);
    }
    let turns = &turns[1..];
    println!(
        "isolation, on top of that, p50 of {RUNS} runs, median of {rounds} interleaved rounds"
    );
    for (index, (name, _)) in kinds.iter().enumerate() {
        let added = median(turns.iter().map(|turn| turn[index] * 1e6));
        println!("  {name:14}{added:+7.1} us  (at most {MOST:.0}, goal {GOAL:.0})");
    }
    Ok(())
}

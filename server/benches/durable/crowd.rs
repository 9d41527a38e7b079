//! Many at once: how long each start takes then.

use std::time::Duration;

use futures_util::future::try_join_all;
use remex::v1::OnDisconnect;
use remex_client::Client;

use crate::{Size, median, median_figure, request, run, support::Outcome, times};

/// As many at once.
const CROWD: usize = 32;

pub(crate) async fn measure(plain: &Client, synced: &Client, size: &Size) -> Outcome<()> {
    let mut rounds = Vec::with_capacity(size.rounds);
    // The first round warms up and is not counted.
    for round in 0..=size.rounds {
        let attached = at_once(plain, OnDisconnect::Kill, size.crowd_starts).await?;
        let detached = at_once(plain, OnDisconnect::Detach, size.crowd_starts).await?;
        let synced = at_once(synced, OnDisconnect::Detach, size.crowd_starts).await?;
        if round > 0 {
            rounds.push([attached, detached, synced].map(median));
        }
    }
    let figure = |of: &dyn Fn(&[f64; 3]) -> f64| median_figure(rounds.iter().map(of).collect());
    println!(
        "{CROWD} at once, p50, median of {} interleaved rounds",
        size.rounds
    );
    println!(
        "  attached {:.1} ms, detached {:.1} ms, detached with --sync start {:.1} ms",
        figure(&|round| round[0] * 1e3),
        figure(&|round| round[1] * 1e3),
        figure(&|round| round[2] * 1e3)
    );
    println!(
        "  detached over attached: {:.2}; --sync start over attached: {:.2} (bound 1.60)",
        figure(&|[attached, detached, _]| detached / attached),
        figure(&|[attached, _, synced]| synced / attached)
    );
    Ok(())
}

/// How long each start took, of [`CROWD`] callers that start `count` each.
async fn at_once(
    client: &Client,
    on_disconnect: OnDisconnect,
    count: usize,
) -> Outcome<Vec<Duration>> {
    let start = || run(client, request(&["/bin/true"], on_disconnect));
    let callers = (0..CROWD).map(|_| times(count, start));
    Ok(try_join_all(callers).await?.concat())
}

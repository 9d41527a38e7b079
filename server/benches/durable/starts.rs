//! One start after the other: attached, detached, and with what has to be on disk first.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use remex::v1::OnDisconnect;
use remex_client::Client;

use crate::{Size, median, median_figure, request, run, support::Outcome, times};

/// Between the starts of one kind and those of the next.
const LULL: Duration = Duration::from_millis(250);

/// What is synced before a start is about as long.
const RECORD_BYTES: usize = 512;

pub(crate) async fn measure(
    folder: &Path,
    plain: &Client,
    synced: &Client,
    size: &Size,
) -> Outcome<()> {
    let disk = Disk::new(&folder.join("sync"), size)?;
    let mut rounds = Vec::with_capacity(size.rounds);
    // The first round warms up and is not counted.
    for round in 0..=size.rounds {
        let starts = async |client, on_disconnect| {
            // What the starts before leave to be done is no part of these.
            tokio::time::sleep(LULL).await;
            let start = || run(client, request(&["/bin/true"], on_disconnect));
            times(size.starts, start).await.map(median)
        };
        let attached = starts(plain, OnDisconnect::Kill).await?;
        let detached = starts(plain, OnDisconnect::Detach).await?;
        let synced = starts(synced, OnDisconnect::Detach).await?;
        let sync = median(disk.syncs(plain, size.starts).await?);
        if round > 0 {
            rounds.push([attached, detached, synced, sync]);
        }
    }
    let figure = |of: &dyn Fn(&[f64; 4]) -> f64| median_figure(rounds.iter().map(of).collect());
    println!(
        "/bin/true from the call to its exit, p50 of {} runs, median of {} interleaved rounds",
        size.starts, size.rounds
    );
    for (index, name) in [
        "attached",
        "detached",
        "detached, --sync start",
        "one fdatasync",
    ]
    .into_iter()
    .enumerate()
    {
        println!("  {name:26}{:8.1} us", figure(&|round| round[index] * 1e6));
    }
    println!(
        "  detached over attached: {:.2} (bound 1.35, goal 1.20)",
        figure(&|[attached, detached, ..]| detached / attached)
    );
    println!(
        "  --sync start over attached: {:.2}; what it adds, in fdatasyncs: {:.2} (bound 1)",
        figure(&|[attached, _, synced, _]| synced / attached),
        figure(&|[_, detached, synced, sync]| (synced - detached) / sync)
    );
    Ok(())
}

/// A file that is as long already as it will be, as a journal is that waits for its execution.
struct Disk(File);

impl Disk {
    fn new(path: &Path, size: &Size) -> Outcome<Self> {
        let file = File::create_new(path)?;
        file.write_all_at(&vec![0; RECORD_BYTES * size.starts], 0)?;
        file.sync_all()?;
        Ok(Self(file))
    }

    /// How long it took to have a record on disk, `count` times; each behind a start, after which processors and disk are as another
    /// start finds them. In a tight loop it takes half as long.
    async fn syncs(&self, client: &Client, count: usize) -> Outcome<Vec<Duration>> {
        let mut times = Vec::with_capacity(count);
        for index in 0..count {
            run(client, request(&["/bin/true"], OnDisconnect::Detach)).await?;
            let begin = Instant::now();
            self.0
                .write_all_at(&[1; RECORD_BYTES], (RECORD_BYTES * index) as u64)?;
            self.0.sync_data()?;
            times.push(begin.elapsed());
        }
        Ok(times)
    }
}

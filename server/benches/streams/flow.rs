//! A gigabyte to a client that copies nothing, and how fast it came.

use std::time::Instant;

use remex_client::{Client, Command, Event};

use crate::support::Outcome;

/// Megabytes a second.
pub(crate) fn rate(bytes: u64, begun: Instant) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let megabytes = bytes as f64 / 1e6;
    megabytes / begun.elapsed().as_secs_f64()
}

/// What the client gets of a command that writes `bytes`, in megabytes a second.
pub(crate) async fn stdout(client: &Client, bytes: u64) -> Outcome<f64> {
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

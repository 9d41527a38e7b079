//! What flows from a command to a caller that reads along, with a journal that keeps all of it and without.

use std::time::Instant;

use remex::v1::{DeleteRequest, OnDisconnect};
use remex_client::Client;

use crate::{Size, median_figure, request, run, support::Outcome};

pub(crate) async fn measure(client: &Client, size: &Size) -> Outcome<()> {
    let (mut plain, mut kept, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=size.output_rounds {
        let plain_rate = rate(client, OnDisconnect::Kill, size.output_bytes).await?;
        let kept_rate = rate(client, OnDisconnect::Detach, size.output_bytes).await?;
        if round > 0 {
            plain.push(plain_rate);
            kept.push(kept_rate);
            ratios.push(kept_rate / plain_rate);
        }
    }
    println!(
        "{} MiB of output, median of {} interleaved rounds",
        size.output_bytes >> 20,
        size.output_rounds
    );
    println!(
        "  plain {:.0} MB/s, journalled {:.0} MB/s: {:.2} (bound 0.90)",
        median_figure(plain),
        median_figure(kept),
        median_figure(ratios)
    );
    Ok(())
}

/// Megabytes a second.
async fn rate(client: &Client, on_disconnect: OnDisconnect, bytes: u64) -> Outcome<f64> {
    let begun = Instant::now();
    let bytes_text = bytes.to_string();
    let head = request(&["head", "-c", &bytes_text, "/dev/zero"], on_disconnect);
    let seen = run(client, head).await?;
    if seen.output_bytes != bytes {
        return Err(format!("{} of {bytes} bytes came", seen.output_bytes).into());
    }
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    if on_disconnect == OnDisconnect::Detach {
        // Each leaves as much room on disk to the next.
        let execution_id = seen.id;
        client.exec().delete(DeleteRequest { execution_id }).await?;
    }
    Ok(rate)
}

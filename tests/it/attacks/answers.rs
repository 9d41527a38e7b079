//! What one answer, or one record, may hold, many times.

use futures_util::future::join_all;
use remex_client::Command;

use super::trial::{Bounds, Trial, honest_call};

const MIB: u64 = 1 << 20;

/// Unary answers, each as large as one may be, all at once.
#[tokio::test]
async fn unary_answers() {
    const ANSWERS: usize = 40;
    long_only!();
    let trial = Trial::start(&[]).await;
    let client = trial.server.daemon.client().await;
    let bounds = Bounds {
        // The budget for answers, each of which is twice there while it is encoded: one by one, not all.
        peak: 640,
        after: 64,
    };
    let attack = async {
        let text = "head -c 16777216 /dev/zero; head -c 16777216 /dev/zero >&2";
        let run = || client.run(Command::shell(text).max_output_bytes(16 * MIB));
        for answer in join_all((0..ANSWERS).map(|_| run())).await {
            let answer = answer.expect("it is answered");
            // The rest is counted, and its lack is said.
            assert_eq!(answer.stdout_bytes_total, 16 * MIB);
            let whole =
                answer.stdout.len() as u64 == 16 * MIB && answer.stderr.len() as u64 == 16 * MIB;
            assert_eq!(answer.truncated, !whole);
        }
    };
    Box::pin(trial.attack("40 answers of 32 MiB", bounds, attack))
        .await
        .stop()
        .await;
}

/// Records of commands with as many arguments as there may be.
#[tokio::test]
async fn records() {
    const ARGUMENTS: usize = 65_000;
    const RECORDS: usize = 200;
    long_only!();
    let trial = Trial::start(&[]).await;
    let client = trial.server.daemon.client().await;
    let bounds = Bounds {
        // The records' own bound is 32 MiB.
        peak: 96,
        after: 64,
    };
    let attack = async {
        for _ in 0..RECORDS {
            let command = Command::new("true").args(vec![String::new(); ARGUMENTS]);
            let outcome = client.run(command).await.expect("it runs");
            assert_eq!(outcome.exit.status_code(), 0);
        }
        honest_call(&client).await;
    };
    Box::pin(trial.attack("records of 65,000 arguments", bounds, attack))
        .await
        .stop()
        .await;
}

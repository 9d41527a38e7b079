//! Run: a command to its end, and its whole output in one answer.

use std::io::{Read, Write, stderr, stdin, stdout};

use remex_client::{Client, Command, Error, RunOutcome, v1::RunRequest};
use tonic::codec::CompressionEncoding;

use crate::{Outcome, options::Options};

/// Runs the command with our stdin, prints its output, and returns its exit code.
pub(crate) async fn capture(client: &Client, options: Options) -> Outcome {
    let mut data = Vec::new();
    stdin().read_to_end(&mut data)?;
    let command = Command::new(options.program)
        .args(options.args)
        .stdin(data)
        .max_output_bytes(options.max_bytes);
    let outcome = if options.gzip {
        run_compressed(client, command).await?
    } else {
        client.run(command).await?
    };
    stdout().write_all(&outcome.stdout)?;
    stderr().write_all(&outcome.stderr)?;
    if outcome.truncated {
        let total = outcome.stdout_bytes_total + outcome.stderr_bytes_total;
        eprintln!("client: cut, of {total} bytes in all");
    }
    Ok(outcome.exit.status_code())
}

/// The library compresses nothing; the generated client below it can, as it can do all of the API.
async fn run_compressed(client: &Client, command: Command) -> Result<RunOutcome, Error> {
    let mut exec = client.exec().send_compressed(CompressionEncoding::Gzip);
    let response = exec.run(RunRequest::from(command)).await?;
    Ok(response.into_inner().into())
}

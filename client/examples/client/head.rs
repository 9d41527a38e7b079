//! Start: the first lines of a command's output, and then the stream is broken off.

use std::io::{Write, stdout};

use remex_client::{Client, Command, Event, Execution, Stream};

use crate::{Outcome, options::Options};

pub(crate) async fn head(client: &Client, options: Options) -> Outcome {
    let command = Command::new(options.program).args(options.args);
    let execution = client.start(command).await?;
    let id = execution.id().to_owned();
    print_head(execution, options.lines).await?;
    let exit = client.wait(id).await?;
    eprintln!("client: ended, reason {}", exit.reason.as_str());
    Ok(0)
}

/// Prints so many lines of stdout. The execution is dropped at the end, which ends the command if it still runs.
async fn print_head(mut execution: Execution, mut lines: usize) -> Outcome {
    while let Some(event) = execution.next().await? {
        let Event::Output { stream, data, .. } = event else {
            continue;
        };
        if stream != Stream::Stdout {
            continue;
        }
        for line in data.split_inclusive(|&byte| byte == b'\n') {
            stdout().write_all(line)?;
            lines -= usize::from(line.ends_with(b"\n"));
            if lines == 0 {
                return Ok(0);
            }
        }
    }
    Ok(0)
}

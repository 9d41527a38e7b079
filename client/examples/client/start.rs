//! Start: a command that runs on without us, whatever becomes of its callers and of remexd.

use std::io::{Write, stdout};

use remex_client::{Client, Command, v1::OnDisconnect};

use crate::{Outcome, options::Options};

/// Starts the command, prints its id, and leaves it alone.
pub(crate) async fn start(client: &Client, options: Options) -> Outcome {
    let command = Command::new(options.program)
        .args(options.args)
        .on_disconnect(OnDisconnect::Detach)
        // For those who attach to it.
        .stdin_open();
    let execution = client.start(command).await?;
    writeln!(stdout(), "{}", execution.id())?;
    Ok(0)
}

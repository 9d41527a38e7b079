//! Interact: joins what runs on by itself, behind the event that was seen last, and may leave it again.

use std::io::{self, Read, stdin};

use remex_client::{Attach, Client, Event};
use tokio::task::spawn_blocking;

use crate::{
    Outcome,
    options::Options,
    run::{exit_code, forward_signals, forward_stdin, write},
};

/// Returns the command's exit code, or 0 once as many outputs were seen as were asked for.
pub(crate) async fn attach(client: &Client, options: Options) -> Outcome {
    // Resumed, it goes on by itself when its connection or remexd was lost and is back.
    let attach = Attach::to(options.program).after(options.after).resume();
    let mut interaction = client.attach_interactive(attach).await?;
    if let Some(to) = interaction.stdin.take() {
        // Our stdin is the command's from its first byte: what it has of it already is passed over.
        let accepted = to.accepted();
        tokio::spawn(async move {
            let passed = spawn_blocking(move || pass_over(accepted)).await;
            passed.map_err(io::Error::other)??;
            forward_stdin(to).await
        });
    }
    forward_signals(&interaction.control())?;
    let mut outputs = options.outputs;
    while let Some(event) = interaction.next().await? {
        match event {
            Event::Output { stream, data, .. } => {
                write(stream, &data)?;
                outputs = outputs.map(|left| left.saturating_sub(1));
                if outputs == Some(0) {
                    eprintln!("client: left behind event {}", interaction.position());
                    return Ok(0);
                }
            }
            Event::Exited(exit) => return exit_code(&exit),
            _ => {}
        }
    }
    Err("the server stopped telling what the command does".into())
}

/// Reads so many bytes of our stdin, for nobody.
fn pass_over(bytes: u64) -> io::Result<()> {
    io::copy(&mut stdin().take(bytes), &mut io::sink()).map(drop)
}

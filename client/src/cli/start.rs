//! `remex start`: a command that runs on by itself.

use std::env;

use remex_client::v1::OnDisconnect;

use super::{
    Failure,
    command::{CommandArgs, refused},
    escape, json, print,
    run::terminal,
    server::{Server, ServerArgs},
};

/// Start a command that runs on by itself, and print its id.
///
/// `remex attach` joins it, `remex logs` shows its output, `remex wait` waits for its end.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "remex start [OPTIONS] -- PROGRAM [ARG]...\n       remex start [OPTIONS] --shell TEXT"
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    #[command(flatten)]
    pub(super) command: CommandArgs,
    /// Keep its stdin open for those who attach; else it is empty.
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal, whose stdin is open.
    #[arg(short = 't', long, alias = "tty")]
    terminal: bool,
    /// Give it no stdin, as is done without it too.
    #[arg(short = 'n', long, hide = true, conflicts_with_all = ["interactive", "terminal"])]
    no_stdin: bool,
    /// As is done without it too.
    #[arg(short, long, hide = true)]
    detach: bool,
    /// Print it as a line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn start(server: &Server, args: &Args) -> Result<u8, Failure> {
    let mut command = args.command.command()?.on_disconnect(OnDisconnect::Detach);
    if args.interactive || args.terminal {
        command = command.stdin_open();
    }
    if args.terminal {
        // Of the size of this one, if there is one; whoever attaches brings another.
        let (rows, columns) = terminal::size().unwrap_or_default();
        command = command.terminal(rows, columns, env::var("TERM").unwrap_or_default());
    }
    let client = server.connect().await?;
    let started = client.start(command).await;
    let execution = started.map_err(|error| refused(error, &args.command))?;
    print::out(&if args.json {
        json::named(execution.id())
    } else {
        format!("{}\n", escape::line(execution.id()))
    })?;
    Ok(0)
}

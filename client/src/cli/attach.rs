//! `remex attach`: joins an execution that outlives its callers, as if it had been run from here.

use std::io::{IsTerminal, stdin, stdout};

use remex::v1::{Execution, execution::State};
use remex_client::{Attach, Client, Error, Exit, Interaction, Reason};

use super::{
    Failure, complete,
    failure::status_of,
    ids, logs, print,
    run::{Changes, Hold, How, Input, Signals, converse, terminal},
    server::{Server, ServerArgs},
};

/// So many of a terminal's last events are shown again: what is on it, most likely. Its programs repaint the rest.
const REPAINTED_EVENTS: u64 = 100;
/// Moves the cursor home, and clears the screen.
const CLEAR: &[u8] = b"\x1b[H\x1b[2J";

/// What is typed there, for `remex attach --help`.
const KEYS_HELP: &str = "\
On a terminal, Ctrl-P Ctrl-Q leaves it running, and so does ~. at the
beginning of a line; a terminal is shown from its last screen on, anything
else from its beginning.";

/// Join an execution that outlives its callers, with stdin, stdout, stderr and signals as if it were local.
#[derive(Debug, clap::Args)]
#[command(after_help = KEYS_HELP)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Read no stdin, and leave the command's as it is.
    #[arg(short = 'n', long)]
    no_stdin: bool,
    /// Only look: send nothing, and be no caller whose going matters.
    #[arg(long)]
    observer: bool,
    /// Ride through lost connections and restarts of remexd.
    #[arg(long)]
    resume: bool,
    /// Print events as JSON, one a line, in place of the output; see `remex help run`.
    #[arg(long)]
    json: bool,
    /// Do not say why the command was ended if it was not by itself.
    #[arg(short, long)]
    quiet: bool,
    /// Begin behind this event, such as the last that an earlier --json showed.
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// The execution: its id, or the beginning of one.
    #[arg(value_name = "ID", add = complete::ids(&complete::ACTIVE))]
    id: String,
}

pub(crate) async fn attach(server: &Server, args: &Args) -> Result<u8, Failure> {
    if args.observer {
        let client = server.connect().await?;
        let id = ids::one(&client, &args.id).await?;
        let attach = args.attach(&id, args.after.unwrap_or(0)).observer();
        return logs::follow(&client, attach, args.json).await;
    }
    let mut signals = Signals::watch()?;
    let joined = tokio::select! {
        joined = join(server, args) => joined?,
        signal = signals.next() => return Err(Failure::signal(signal)),
    };
    match joined {
        Joined::Running(interaction, how, changes) => {
            converse(*interaction, &how, signals, changes).await
        }
        Joined::Ended(exit) => status_of(&exit),
    }
}

/// What an attach has found.
enum Joined {
    Running(Box<Interaction>, How, Changes),
    /// It has ended, and nothing of it is to be shown any more.
    Ended(Exit),
}

async fn join(server: &Server, args: &Args) -> Result<Joined, Failure> {
    let client = server.connect().await?;
    let id = ids::one(&client, &args.id).await?;
    let record = client.get(&id).await?;
    let has_ended = record.state() == State::Ended;
    if has_ended && args.after == Some(record.last_sequence) {
        return Ok(Joined::Ended(record.exit.unwrap_or_default().into()));
    }
    let command = record.command.as_ref();
    let has_terminal = command.is_some_and(|command| command.terminal.is_some());
    let on_terminal = has_terminal && !has_ended && !args.json && stdin().is_terminal();
    let input = Input::of(on_terminal, args.no_stdin);
    let is_lent = input == Input::Terminal;
    let after = match args.after {
        Some(after) => after,
        None if is_lent => last_screen(&record),
        None => 0,
    };
    let interaction = attach_to(&client, args, &id, after).await?;
    let changes = Changes::watch(is_lent)?;
    if is_lent {
        repaint(&interaction, after > 0).await?;
    }
    let how = How {
        input,
        hold: Hold::Attached,
        json: args.json,
        quiet: args.quiet,
        timeout: None,
    };
    Ok(Joined::Running(Box::new(interaction), how, changes))
}

impl Args {
    fn attach(&self, id: &str, after: u64) -> Attach {
        let attach = Attach::to(id).after(after);
        if self.resume { attach.resume() } else { attach }
    }
}

async fn attach_to(
    client: &Client,
    args: &Args,
    id: &str,
    after: u64,
) -> Result<Interaction, Failure> {
    let joined = client.attach_interactive(args.attach(id, after)).await;
    match joined {
        // Its terminal went on meanwhile, and dropped what was to be shown first.
        Err(error) if args.after.is_none() && is_gone(&error) => {
            Ok(client.attach_interactive(args.attach(id, 0)).await?)
        }
        joined => Ok(joined?),
    }
}

fn is_gone(error: &Error) -> bool {
    error.reason() == Some(Reason::PositionGone)
}

/// Behind which event its last screen begins.
fn last_screen(record: &Execution) -> u64 {
    let last = record.last_sequence;
    match record.first_sequence {
        0 => last,
        first => last.saturating_sub(REPAINTED_EVENTS).max(first - 1),
    }
}

/// Gives its terminal the size of this one, by way of another size, which programs that fill a screen draw anew for.
async fn repaint(interaction: &Interaction, clears: bool) -> Result<(), Failure> {
    if clears && stdout().is_terminal() {
        print::bytes(CLEAR)?;
    }
    if let Ok((rows @ 2.., columns @ 1..)) = terminal::size() {
        let control = interaction.control();
        for rows in [rows - 1, rows] {
            // If it cannot be sent the call is over, and its events say why.
            let _ = control.resize(rows, columns).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_from_what_is_kept_of_its_end() {
        for (first, last, after) in [(2, 5, 1), (2, 500, 400), (450, 500, 449), (0, 500, 500)] {
            let record = Execution {
                first_sequence: first,
                last_sequence: last,
                ..Execution::default()
            };
            assert_eq!(last_screen(&record), after);
        }
    }
}

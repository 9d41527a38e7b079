//! `remex run`: a command with stdin, stdout, stderr and signals as if it were local.
//!
//! Hops: a thread reads stdin, [`session`] is the one loop between it, the call, the signals and the thread that writes.
//! No thread is waited for at the end, but the writer for what it has left. `remex attach` goes the same way.

mod args;
mod escapes;
mod held;
mod output;
mod patience;
mod session;
mod signals;
mod stdin;
pub(super) mod terminal;
mod why;

use std::{env, time::Duration};

use remex_client::{Command, Error, Interaction};

pub(crate) use self::args::RunArgs;
pub(super) use self::{
    session::Hold,
    signals::{Changes, Signals},
};
use self::{
    session::{Local, Outcome, Session},
    terminal::LocalTerminal,
};
use super::{Failure, command::refused, failure::status_of, print, server::Server};

pub(crate) async fn run(server: &Server, args: RunArgs) -> Result<u8, Failure> {
    // Watched before anything is sent, so that nothing is missed.
    let mut signals = Signals::watch()?;
    let changes = Changes::watch(args.terminal)?;
    let command = command(&args)?;
    let interaction = tokio::select! {
        begun = begin(server, command) => begun.map_err(|error| refused(error, &args.command))?,
        signal = signals.next() => return Err(Failure::signal(signal)),
    };
    let how = How {
        input: Input::of(args.terminal, args.no_stdin),
        hold: args.hold(),
        json: args.json,
        quiet: args.quiet,
        timeout: args.command.timeout,
    };
    converse(interaction, &how, signals, changes).await
}

async fn begin(server: &Server, command: Command) -> Result<Interaction, Error> {
    server.connect().await?.interact(command).await
}

/// How this side goes along with a command.
pub(super) struct How {
    pub(super) input: Input,
    pub(super) hold: Hold,
    pub(super) json: bool,
    pub(super) quiet: bool,
    pub(super) timeout: Option<Duration>,
}

/// What is given to a command from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    /// What is read on stdin.
    Stdin,
    /// The same, of the local terminal, which is lent to the command.
    Terminal,
}

impl Input {
    pub(super) fn of(terminal: bool, no_stdin: bool) -> Self {
        match (terminal, no_stdin) {
            (_, true) => Self::Nothing,
            (true, false) => Self::Terminal,
            (false, false) => Self::Stdin,
        }
    }
}

/// Goes between the command and this side until it has ended, or is left, and answers with the exit code; the terminal is as
/// before when this returns.
pub(super) async fn converse(
    mut interaction: Interaction,
    how: &How,
    signals: Signals,
    changes: Changes,
) -> Result<u8, Failure> {
    let output = output::start()?;
    let (on_terminal, reads) = (how.input == Input::Terminal, how.input != Input::Nothing);
    let terminal = on_terminal.then(LocalTerminal::new).transpose()?;
    let leaves = how.hold == Hold::Attached;
    let reading = reads.then(|| stdin::start(on_terminal, leaves));
    let (held, keys) = reading.transpose()?.unzip();
    // Of one that was attached to, stdin that is not ours to give is not ours to end.
    let stdin = if reads || !leaves {
        interaction.stdin.take()
    } else {
        None
    };
    let local = Local {
        signals,
        terminal,
        changes,
        keys,
    };
    let id = interaction.id().to_owned();
    let session = Session::new(interaction, output, local, how);
    match session.run(stdin::feed(held, stdin)).await? {
        Outcome::Ended(ended) => {
            if !how.quiet
                && let Some(why) = why::why_ended(&ended, how.timeout)
            {
                print::note(&why);
            }
            status_of(&ended.exit)
        }
        Outcome::Left => {
            if !how.quiet {
                print::note(&format!("left {id}; `remex attach {id}` joins it again"));
            }
            Ok(0)
        }
    }
}

fn command(args: &RunArgs) -> Result<Command, Failure> {
    let mut command = args.durable(args.command.command()?);
    if args.terminal {
        let (rows, columns) = terminal::size()?;
        command = command.terminal(rows, columns, env::var("TERM").unwrap_or_default());
    }
    Ok(command)
}

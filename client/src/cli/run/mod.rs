//! `remex run`: a command with stdin, stdout, stderr and signals as if it were local.
//!
//! Hops: a thread reads stdin, [`session`] is the one loop between it, the call, the signals and the thread that writes.
//! No thread is waited for at the end, but the writer for what it has left.

mod args;
mod escapes;
mod held;
mod output;
mod patience;
mod session;
mod signals;
mod stdin;
mod terminal;
mod words;

use std::{
    env::{self, VarError},
    ffi::OsString,
};

use remex_client::{Command, Error, Interaction};

pub(crate) use self::args::RunArgs;
use self::{
    args::Drain,
    session::{Local, Session},
    signals::{Changes, Signals},
    terminal::LocalTerminal,
};
use super::{
    Failure,
    failure::status_of,
    print,
    server::Server,
    usage::Typed,
    values::{EnvVar, Label},
};

pub(crate) async fn run(server: &Server, args: RunArgs) -> Result<u8, Failure> {
    // Watched before anything is sent, so that nothing is missed.
    let mut signals = Signals::watch()?;
    let changes = Changes::watch(args.terminal)?;
    let command = command(&args)?;
    let interaction = tokio::select! {
        begun = begin(server, command) => begun.map_err(|error| words::refused(error, &args))?,
        signal = signals.next() => return Err(Failure::signal(signal)),
    };
    let ended = converse(interaction, &args, signals, changes).await?;
    if !args.quiet
        && let Some(why) = words::why_ended(&ended, args.timeout)
    {
        print::note(&why);
    }
    status_of(&ended.exit)
}

async fn begin(server: &Server, command: Command) -> Result<Interaction, Error> {
    server.connect().await?.interact(command).await
}

/// Goes between the command and this side until it has ended; the terminal is as before when this returns.
async fn converse(
    mut interaction: Interaction,
    args: &RunArgs,
    signals: Signals,
    changes: Changes,
) -> Result<session::Ended, Failure> {
    let output = output::start()?;
    let terminal = args.terminal.then(LocalTerminal::new).transpose()?;
    let reading = (!args.no_stdin).then(|| stdin::start(args.terminal));
    let (held, keys) = reading.transpose()?.unzip();
    let stdin = interaction.stdin.take();
    let local = Local {
        signals,
        terminal,
        changes,
        keys,
    };
    let session = Session::new(interaction, output, local, args.json);
    session.run(stdin::feed(held, stdin)).await
}

fn command(args: &RunArgs) -> Result<Command, Failure> {
    let mut command = match &args.shell {
        Some(text) => Command::shell(text),
        None => program(&args.argv)?,
    };
    if let Some(user) = &args.user {
        command = command.user(user);
    }
    if let Some(timeout) = args.timeout {
        command = command.timeout(timeout);
    }
    if args.drain == Drain::Eof {
        command = command.drain_to_eof();
    }
    if let Some(folder) = &args.cwd {
        command = command.current_dir(folder);
    }
    for variable in &args.env {
        let (name, value) = variable_of(variable, &args.typed)?;
        command = command.env(name, value);
    }
    for Label { key, value } in &args.label {
        command = command.label(key, value);
    }
    if args.terminal {
        let (rows, columns) = terminal::size()?;
        command = command.terminal(rows, columns, env::var("TERM").unwrap_or_default());
    }
    Ok(command)
}

fn program(argv: &[OsString]) -> Result<Command, Failure> {
    match argv {
        [program, args @ ..] if !program.is_empty() => Ok(Command::new(program).args(args)),
        _ => Err(Failure::new(
            "PROGRAM is empty; write what to run behind --; see `remex run --help`",
        )),
    }
}

fn variable_of<'a>(variable: &'a EnvVar, typed: &Typed) -> Result<(&'a str, String), Failure> {
    let EnvVar { name, value } = variable;
    if let Some(value) = value {
        return Ok((name, value.clone()));
    }
    let what = match env::var(name) {
        Ok(value) => return Ok((name, value)),
        Err(VarError::NotPresent) => "is not set here; set it",
        Err(VarError::NotUnicode(_)) => "is not UTF-8 here and cannot be passed on; change it",
    };
    let option = typed.name("--env");
    Err(Failure::new(format!(
        "{option} {name} {what}, or write {option} {name}=VALUE"
    )))
}

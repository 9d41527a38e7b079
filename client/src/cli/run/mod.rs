//! `remex run`: a command with stdin, stdout, stderr and signals as if it were local.
//!
//! Hops: a thread reads stdin, [`session`] is the one loop between it, the call, the signals and the thread that writes.
//! No thread is waited for at the end, but the writer for what it has left.

mod json;
mod output;
mod patience;
mod session;
mod signals;
mod stdin;
mod terminal;

use std::env::{self, VarError};

use remex_client::{Client, Command, Endpoint, Interaction};

use self::{
    session::Session,
    signals::{Resizes, Signals},
    terminal::RawMode,
};
use super::{
    Failure,
    args::RunArgs,
    values::{EnvVar, Label},
};

pub(crate) async fn run(server: &Endpoint, args: RunArgs) -> Result<u8, Failure> {
    let (no_stdin, json, on_terminal) = (args.no_stdin, args.json, args.terminal);
    // Watched before anything is sent, so that nothing is missed.
    let mut signals = Signals::watch()?;
    let resizes = Resizes::watch(on_terminal)?;
    let command = command(args)?;
    let mut interaction = tokio::select! {
        begun = begin(server, command) => begun?,
        signal = signals.next() => return Err(Failure::signal(signal)),
    };
    let output = output::start()?;
    let chunks = (!no_stdin).then(stdin::start).transpose()?;
    let stdin = interaction.stdin.take();
    // Put back when it is dropped, which is before anything else is said.
    let _raw = on_terminal.then(RawMode::enter).transpose()?;
    let session = Session::new(interaction, output, signals, resizes, json);
    session.run(stdin::feed(chunks, stdin)).await
}

async fn begin(server: &Endpoint, command: Command) -> Result<Interaction, Failure> {
    let client = Client::connect(server).await?;
    Ok(client.interact(command).await?)
}

fn command(args: RunArgs) -> Result<Command, Failure> {
    let mut command = match args.shell {
        Some(text) => Command::shell(text),
        None => program(args.argv)?,
    };
    if let Some(user) = args.user {
        command = command.user(user);
    }
    if let Some(timeout) = args.timeout {
        command = command.timeout(timeout);
    }
    if let Some(folder) = args.cwd {
        command = command.current_dir(folder);
    }
    for variable in args.env {
        let (name, value) = variable_of(variable)?;
        command = command.env(name, value);
    }
    for Label { key, value } in args.label {
        command = command.label(key, value);
    }
    if args.terminal {
        let (rows, columns) = terminal::size()?;
        command = command.terminal(rows, columns, env::var("TERM").unwrap_or_default());
    }
    Ok(command)
}

fn program(argv: Vec<std::ffi::OsString>) -> Result<Command, Failure> {
    let mut argv = argv.into_iter();
    let missing = || Failure::new("there is no program to run; write it behind --");
    let program = argv.next().ok_or_else(missing)?;
    Ok(Command::new(program).args(argv))
}

fn variable_of(variable: EnvVar) -> Result<(String, String), Failure> {
    let EnvVar { name, value } = variable;
    if let Some(value) = value {
        return Ok((name, value));
    }
    match env::var(&name) {
        Ok(value) => Ok((name, value)),
        Err(VarError::NotPresent) => {
            let what = "is not set here; set it, or write --env";
            Err(Failure::new(format!("{name} {what} {name}=VALUE")))
        }
        Err(VarError::NotUnicode(_)) => {
            let what = "is not UTF-8 here, and cannot be passed on; write --env";
            Err(Failure::new(format!("{name} {what} {name}=VALUE")))
        }
    }
}

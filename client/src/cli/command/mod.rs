//! What is to run, as it is typed behind `remex run` and `remex start`.

mod refused;

use std::{
    env::{self, VarError},
    ffi::OsString,
    time::Duration,
};

use clap::ValueEnum;
use remex::duration;
use remex_client::Command;

pub(super) use self::refused::{refused, spoken};
use super::{
    Failure,
    usage::Typed,
    values::{self, EnvVar, Label},
};

/// The command, and with what around it.
#[derive(Debug, clap::Args)]
pub(crate) struct CommandArgs {
    /// Run this text with /bin/sh.
    #[arg(long, value_name = "TEXT", value_parser = values::shell, conflicts_with = "argv")]
    shell: Option<String>,
    /// Run it as this user: a name, a number or UID:GID.
    #[arg(short, long, value_parser = values::user)]
    pub(super) user: Option<String>,
    /// End it after so long, such as 30s, 1h30m or 90.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) timeout: Option<Duration>,
    /// Run it in this folder, an absolute path.
    #[arg(long, alias = "workdir", short_alias = 'w', value_name = "FOLDER", value_parser = values::folder)]
    pub(super) cwd: Option<String>,
    /// Set a variable of its environment; NAME alone takes the local value.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<EnvVar>,
    /// How long output of what it left in the background is waited for: bounded (at most 1 s), or eof, as ssh does.
    #[arg(
        long,
        value_name = "HOW",
        default_value = "bounded",
        hide_possible_values = true
    )]
    drain: Drain,
    /// Label the execution.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) label: Vec<Label>,
    /// An id of your own: the same command under the same id never runs twice.
    #[arg(long, value_name = "ID", value_parser = values::request_id)]
    pub(super) request_id: Option<String>,
    /// The program and its arguments.
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        required_unless_present = "shell"
    )]
    pub(super) argv: Vec<OsString>,
    #[arg(skip)]
    pub(super) typed: Typed,
}

/// How long output is waited for that others than the command itself may still write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Drain {
    Bounded,
    Eof,
}

impl CommandArgs {
    /// What was typed.
    pub(super) fn command(&self) -> Result<Command, Failure> {
        let mut command = match &self.shell {
            Some(text) => Command::shell(text),
            None => self.program()?,
        };
        if let Some(user) = &self.user {
            command = command.user(user);
        }
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        if self.drain == Drain::Eof {
            command = command.drain_to_eof();
        }
        if let Some(folder) = &self.cwd {
            command = command.current_dir(folder);
        }
        for variable in &self.env {
            let (name, value) = variable_of(variable, &self.typed)?;
            command = command.env(name, value);
        }
        for Label { key, value } in &self.label {
            command = command.label(key, value);
        }
        if let Some(id) = &self.request_id {
            command = command.request_id(id);
        }
        Ok(command)
    }

    fn program(&self) -> Result<Command, Failure> {
        match &self.argv[..] {
            [program, args @ ..] if !program.is_empty() => Ok(Command::new(program).args(args)),
            _ => Err(Failure::new(format!(
                "PROGRAM is empty; write what to run behind --; see `{} --help`",
                self.typed.subcommand()
            ))),
        }
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

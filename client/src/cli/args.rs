//! What can be typed: the subcommands, and what all of them share.

use std::{env, ffi::OsString, process::ExitCode};

use super::{
    Failure, attach, echo, kill, legacy, logs, ping, print, ps, rm,
    run::{self, RunArgs},
    server::{Server, ServerArgs},
    start, usage, version, wait,
};
use clap::{ArgAction, Command, CommandFactory, Parser, error::ErrorKind};

/// Runs commands on another machine.
///
/// Exit code: the command's own; 128+n if signal n ended it; 124 when its timeout did; 127 if the program does not exist,
/// 126 if it cannot be executed; 255 for every failure of remex itself.
#[derive(Debug, Parser)]
#[command(
    name = "remex",
    version,
    disable_help_flag = true,
    arg_required_else_help = true
)]
struct CommandLine {
    #[command(flatten)]
    server: ServerArgs,
    /// Print help.
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    help: Option<bool>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Run(Box<RunArgs>),
    Start(Box<start::Args>),
    Attach(attach::Args),
    Logs(logs::Args),
    Ps(ps::Args),
    Wait(wait::Args),
    Kill(kill::Args),
    Rm(rm::Args),
    Echo(echo::Args),
    Ping(ping::Args),
    Legacy(legacy::Args),
    Version(version::Args),
}

impl Verb {
    /// Where a server was named behind the subcommand; `None` for a subcommand that calls no remexd.
    fn server(&self) -> Option<&ServerArgs> {
        match self {
            Self::Run(args) => Some(&args.server),
            Self::Start(args) => Some(&args.server),
            Self::Attach(args) => Some(&args.server),
            Self::Logs(args) => Some(&args.server),
            Self::Ps(args) => Some(&args.server),
            Self::Wait(args) => Some(&args.server),
            Self::Kill(args) => Some(&args.server),
            Self::Rm(args) => Some(&args.server),
            Self::Echo(args) => Some(&args.server),
            Self::Ping(args) => Some(&args.server),
            Self::Version(args) => Some(&args.server),
            Self::Legacy(_) => None,
        }
    }
}

/// What was asked for: everything in it has been checked as far as it can be here.
#[derive(Debug)]
pub(crate) struct Asked {
    verb: Verb,
    server: Server,
}

/// What is there to say in place of doing anything.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Help, or the version.
    Asked(String),
    /// Something was typed wrong.
    Wrong(Failure),
}

impl Refusal {
    /// Says it.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Asked(text) => match print::styled(&format!("{}\n", text.trim_end())) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => failure.report(),
            },
            Self::Wrong(failure) => failure.report(),
        }
    }
}

impl Asked {
    /// The arguments of this process.
    pub(crate) fn from_command_line() -> Result<Self, Refusal> {
        Self::parse(env::args_os(), &ServerArgs::of_environment())
    }

    /// `environment` is what that says of the server.
    pub(crate) fn parse(
        words: impl IntoIterator<Item = impl Into<OsString>>,
        environment: &ServerArgs,
    ) -> Result<Self, Refusal> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let definition = definition();
        let typed = usage::Line {
            definition: &definition,
            words: &words,
        };
        let parsed = match typed.verb() {
            Some((index, verb)) if verb.get_name() == "kill" => {
                CommandLine::try_parse_from(kill::with_signals_named(&words, index + 1))
            }
            _ => CommandLine::try_parse_from(&words),
        };
        let mut line = parsed.map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Refusal::Asked(error.render().ansi().to_string())
            }
            _ => Refusal::Wrong(Failure::new(typed.refusal(&error))),
        })?;
        let command = match &mut line.verb {
            Verb::Run(args) => Some(&mut args.command),
            Verb::Start(args) => Some(&mut args.command),
            _ => None,
        };
        if let Some(command) = command {
            // Behind them is the command's own.
            let options = words.len() - command.argv.len();
            command.typed = usage::Typed(words[..options].to_vec());
        }
        line.check(environment).map_err(|what| {
            let help = typed.help();
            Refusal::Wrong(Failure::new(format!("{what}; see `{help}`")))
        })
    }

    /// Does it, and answers with the exit code.
    pub(crate) async fn carry_out(self) -> Result<u8, Failure> {
        let server = &self.server;
        match self.verb {
            Verb::Run(args) => run::run(server, *args).await,
            Verb::Start(args) => start::start(server, &args).await,
            Verb::Attach(args) => attach::attach(server, &args).await,
            Verb::Logs(args) => logs::logs(server, &args).await,
            Verb::Ps(args) => ps::ps(server, &args).await,
            Verb::Wait(args) => wait::wait(server, &args).await,
            Verb::Kill(args) => kill::kill(server, &args).await,
            Verb::Rm(args) => rm::rm(server, &args).await,
            Verb::Echo(args) => echo::echo(server, &args).await,
            Verb::Ping(args) => ping::ping(server, &args).await,
            Verb::Legacy(args) => legacy::legacy(args).await,
            Verb::Version(args) => version::version(server, &args).await,
        }
    }
}

impl CommandLine {
    /// What clap cannot check; in words that follow `remex: `.
    fn check(self, environment: &ServerArgs) -> Result<Asked, String> {
        match &self.verb {
            Verb::Run(args) => args.check()?,
            Verb::Legacy(_) if self.server.server.is_some() => {
                return Err(
                    "--server is no option of legacy: its server is its first argument".to_owned(),
                );
            }
            Verb::Legacy(args) => args.check()?,
            _ => {}
        }
        let server = match self.verb.server() {
            Some(behind) => Server::new(&behind.or(&self.server), environment)?,
            None => Server::default(),
        };
        Ok(Asked {
            verb: self.verb,
            server,
        })
    }
}

/// All that can be typed.
pub fn definition() -> Command {
    CommandLine::command()
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;

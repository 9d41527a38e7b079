//! What a later version brings. It is refused by its name, so that nobody takes it for a typing error, or for done.

use std::{ffi::OsString, fmt};

/// Subcommands of executions that outlive their callers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    #[command(hide = true)]
    Start(Ignored),
    #[command(hide = true)]
    Attach(Ignored),
    #[command(hide = true)]
    Logs(Ignored),
}

/// What is typed behind a subcommand that is not there yet.
#[derive(Debug, clap::Args)]
pub(crate) struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, advice) = match self {
            Self::Start(_) => ("start", "`remex run` runs it while you are connected"),
            Self::Attach(_) => ("attach", "`remex wait ID` waits for its end"),
            Self::Logs(_) => ("logs", "`remex run` shows output as it comes"),
        };
        write!(
            f,
            "{name} is not yet in this version; {advice}; see `remex --help`"
        )
    }
}

/// Options of `remex run` for executions that outlive their callers.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Durability {
    #[arg(long, hide = true, value_name = "ID")]
    request_id: Option<String>,
    #[arg(long, hide = true)]
    resume: bool,
    #[arg(short, long, hide = true)]
    detach: bool,
}

impl Durability {
    /// None was typed.
    pub(crate) fn check(&self) -> Result<(), String> {
        refuse([
            ("--request-id", self.request_id.is_some()),
            ("--resume", self.resume),
            ("--detach", self.detach),
        ])
    }
}

/// Names the first that was `typed`.
pub(crate) fn refuse<const N: usize>(options: [(&str, bool); N]) -> Result<(), String> {
    match options.into_iter().find(|(_, typed)| *typed) {
        Some((option, _)) => Err(format!("{option} is not yet in this version; leave it out")),
        None => Ok(()),
    }
}

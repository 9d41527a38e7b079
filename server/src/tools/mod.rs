//! What remexd does beside serving: it makes certificates and tokens, says what a policy says, looks at the machine, and asks
//! the remexd that runs.

mod certs;
mod doctor;
pub mod operate;
mod policy;
mod token;
mod upgrade;

use std::{io, path::PathBuf};

use clap::Subcommand;
use remex_daemon::{DaemonExit, logging::LogLevel};

use self::{operate::Which, policy::Asked};
use crate::identity::tokens::Name;

/// A subcommand.
#[derive(Debug, Clone, Subcommand)]
pub enum Tool {
    /// Certificates for trying and for small installations
    #[command(subcommand)]
    Certs(Certs),
    /// Tokens for callers
    #[command(subcommand)]
    Token(Token),
    /// What a policy allows
    #[command(subcommand)]
    Policy(Policies),
    /// How the remexd that runs is
    Status {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// As a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the remexd that runs take no new commands and end as after SIGTERM, and wait until it has
    Drain {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// Kill what runs and is not durable at once
        #[arg(long)]
        kill: bool,
    },
    /// Have the remexd that runs read its configuration, certificates and tokens again
    Reload {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// Say what has changed as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the remexd that runs execute the program that is installed now in its place: no connection is refused, durable
    /// executions run on, and what else runs gets the drain timeout
    Upgrade {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// Say what serves then as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Have the remexd that runs log what is of this level or graver, until it is reloaded
    LogLevel {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// The level
        #[arg(value_enum, value_name = "LEVEL")]
        level: LogLevel,
    },
    /// Look at what this machine offers remexd, what is missing, and how to mend it
    Doctor {
        /// Which one.
        #[command(flatten)]
        which: Which,
        /// Each thing as a line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// What can be done about certificates.
#[derive(Debug, Clone, Subcommand)]
pub enum Certs {
    /// Make a CA and certificates of a server on this machine and of a client, signed by it
    Init {
        /// Where they are written; what is there already is not overwritten
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// What can be done about tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum Token {
    /// Make a token: itself on stdout, the line for --tokens, with its hash, on stderr
    New {
        /// What its caller is known by, as token:NAME
        #[arg(value_name = "NAME")]
        name: Name,
        /// When it is not valid any more, such as 2027-01-31T00:00:00Z, or after how long, such as 720h [default: never]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Both on stdout, in a line of JSON
        #[arg(long)]
        json: bool,
    },
}

/// What can be asked of a policy.
#[derive(Debug, Clone, Subcommand)]
pub enum Policies {
    /// Read a policy as remexd would, with its examples, and say which rules allow everything
    Test {
        /// The policy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// As a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether a caller may run a command, by which rule, and what that forces
    Explain(Box<Asked>),
}

/// It was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// A value is of no use.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be written.
    #[error("{}: {source}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The machine lacks something, or remexd does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The machine, or a library.
    #[error("{0}")]
    Internal(String),
}

impl From<&ToolError> for DaemonExit {
    fn from(error: &ToolError) -> Self {
        match error {
            ToolError::Usage(_) => Self::Usage,
            ToolError::File { .. } | ToolError::Unavailable(_) => Self::Unavailable,
            ToolError::Internal(_) => Self::Internal,
        }
    }
}

impl Tool {
    /// Does it, and says how the program ends.
    pub fn run(&self) -> Result<DaemonExit, ToolError> {
        match self {
            Self::Certs(Certs::Init { folder }) => certs::init(folder)?,
            Self::Token(Token::New {
                name,
                expires,
                json,
            }) => token::new(name, expires.as_deref(), *json)?,
            Self::Policy(Policies::Test { file, json }) => policy::test(file, *json)?,
            Self::Policy(Policies::Explain(asked)) => return policy::explain(asked),
            Self::Status { which, json } => operate::status(which, *json)?,
            Self::Drain { which, kill } => operate::drain(which, *kill)?,
            Self::Reload { which, json } => operate::reload(which, *json)?,
            Self::Upgrade { which, json } => upgrade::upgrade(which, *json)?,
            Self::LogLevel { which, level } => operate::log_level(which, *level)?,
            Self::Doctor { which, json } => doctor::examine(which, *json)?,
        }
        Ok(DaemonExit::Success)
    }
}

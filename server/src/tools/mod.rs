//! What remexd does beside serving: it makes certificates and tokens.

mod certs;
mod token;

use std::{io, path::PathBuf};

use clap::Subcommand;
use remex_daemon::DaemonExit;

use crate::identity::tokens::Name;

/// A subcommand.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Certificates for trying and for small installations
    #[command(subcommand)]
    Certs(Certs),
    /// Tokens for callers
    #[command(subcommand)]
    Token(Token),
}

/// What can be done about certificates.
#[derive(Debug, Subcommand)]
pub enum Certs {
    /// Make a CA and certificates of a server on this machine and of a client, signed by it
    Init {
        /// Where they are written; what is there already is not overwritten
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// What can be done about tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token: itself on stdout, the line for --tokens, with its hash, on stderr
    New {
        /// What its caller is known by, as token:NAME
        #[arg(value_name = "NAME")]
        name: Name,
        /// When it is not valid any more, such as 2027-01-31T00:00:00Z, or after how long, such as 720h [default: never]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
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
    /// The machine, or a library.
    #[error("{0}")]
    Internal(String),
}

impl From<&ToolError> for DaemonExit {
    fn from(error: &ToolError) -> Self {
        match error {
            ToolError::Usage(_) => Self::Usage,
            ToolError::File { .. } => Self::Unavailable,
            ToolError::Internal(_) => Self::Internal,
        }
    }
}

impl Tool {
    /// Does it.
    pub fn run(&self) -> Result<(), ToolError> {
        match self {
            Self::Certs(Certs::Init { folder }) => certs::init(folder),
            Self::Token(Token::New { name, expires }) => token::new(name, expires.as_deref()),
        }
    }
}

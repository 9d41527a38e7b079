//! The Rust client of remex: runs commands on another machine, over gRPC.
//!
//! ```no_run
//! use remex_client::{Client, Command, Event};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(&"http://127.0.0.1:50051".parse()?).await?;
//!
//! // To its end, with all of its output.
//! let outcome = client.run(Command::shell("uname -a")).await?;
//! println!("{}", String::from_utf8_lossy(&outcome.stdout));
//!
//! // With its output as it comes.
//! let mut build = client.start(Command::new("make").arg("all").current_dir("/srv/app")).await?;
//! while let Some(event) = build.next().await? {
//!     match event {
//!         Event::Output { stream, data, .. } => println!("{stream:?}: {} bytes", data.len()),
//!         Event::Exited(exit) => println!("make ended with {}", exit.status_code()),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! In the order in which a call goes: an [`Endpoint`] says where, [`Credentials`] who calls, a
//! [`Client`] holds the connection, a [`Command`] says
//! what; [`Execution`] and [`Interaction`] tell its [`Event`]s, of which the last is its [`Exit`]. What stops a command
//! from running is an [`Error`], with the server's [`Reason`]. A command that [outlives](Command::on_disconnect) its
//! caller is joined again by [`Attach`], and one that [resumes](Command::resume) rides through lost connections by
//! itself. Executions that others started are reached by their id, in the messages of [`v1`], the API itself. [`net`]
//! and [`wire`] are what the command line and the gateway need besides: sockets, and how the old protocol lays out its
//! replies.
//!
//! The feature `cli`, on by default, is what the command line `remex` needs, and the library does not.

#![forbid(unsafe_code)]

// The command line uses the library by its name, as everybody else does.
#[cfg(feature = "cli")]
extern crate self as remex_client;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod attach;
mod client;
mod command;
mod credentials;
mod endpoint;
mod error;
mod event;
mod events;
mod execution;
mod exit;
mod features;
mod interaction;
pub mod net;
mod outgoing;
mod position;
mod records;
mod resumption;
mod signal;
mod transport;
mod unaccepted;
mod window;
pub mod wire;

pub use attach::Attach;
pub use client::{Channel, Client, MAX_REPLY_BYTES};
pub use command::Command;
pub use credentials::{CredentialFiles, Credentials, CredentialsError, NoCredentials};
pub use endpoint::{DEFAULT_PORT, Endpoint, EndpointError};
pub use error::Error;
pub use event::{Event, Stream};
pub use execution::{Execution, RunOutcome};
pub use exit::{Exit, ExitReason, STATUS_FAILURE, STATUS_TIMEOUT};
pub use interaction::{Control, Ended, Interaction, Stdin};
pub use remex::{error::Reason, v1};
pub use resumption::RESUME_TIMEOUT;
pub use signal::{Signal, UnknownSignal};
pub use tower::BoxError;
pub use transport::{
    CONNECT_TIMEOUT, ConnectError, MAX_CALLS_PER_CONNECTION, MAX_CONNECTIONS, STREAM_WINDOW_BYTES,
    never_ran,
};
pub use window::{
    MAX_STDIN_WINDOW_BYTES, STDIN_CHUNK_BYTES, STDIN_WINDOW_BYTES, STDIN_WINDOW_CHUNKS,
};

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
//! In the order in which a call goes: an [`Endpoint`] says where, a [`Client`] holds the connection, a [`Command`] says
//! what; [`Execution`] and [`Interaction`] tell its [`Event`]s, of which the last is its [`Exit`]. What stops a command
//! from running is an [`Error`], with the server's [`Reason`].

mod backoff;
mod client;
mod command;
mod dial;
mod endpoint;
mod error;
mod event;
mod execution;
mod exit;
mod features;
mod heard;
mod http2;
#[cfg(test)]
mod http2_tests;
mod interaction;
mod signal;
mod transport;
mod window;

pub use client::{Channel, Client, MAX_REPLY_BYTES};
pub use command::Command;
pub use dial::{CONNECT_TIMEOUT, ConnectError};
pub use endpoint::{DEFAULT_PORT, Endpoint, EndpointError};
pub use error::Error;
pub use event::{Event, Stream};
pub use execution::{Execution, RunOutcome};
pub use exit::{Exit, ExitReason, STATUS_FAILURE, STATUS_TIMEOUT};
pub use interaction::{Control, Ended, Interaction, Stdin};
pub use remex::error::Reason;
pub use signal::{Signal, UnknownSignal};
pub use tower::BoxError;
pub use window::{STDIN_CHUNK_BYTES, STDIN_WINDOW_BYTES, STDIN_WINDOW_CHUNKS};

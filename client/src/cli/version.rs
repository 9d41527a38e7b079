//! `remex version`: what this is, and what the server is.

use remex::VERSION;

use super::{
    Failure,
    ping::{self, Answer},
    print,
    server::{Server, ServerArgs},
};

/// Print the versions of remex and of the server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Our own is printed before the server is asked: without one, that much is known.
pub(crate) async fn version(server: &Server) -> Result<u8, Failure> {
    print::out(&format!("remex {VERSION}\n"))?;
    let Answer { version, .. } = ping::ask(server).await?;
    print::out(&format!("remexd {version} at {server}\n"))?;
    Ok(0)
}

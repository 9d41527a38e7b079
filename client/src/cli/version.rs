//! `remex version`: what this is, and what the server is.

use remex::VERSION;

use super::{
    Failure, json, ping, print,
    server::{Server, ServerArgs},
};

/// Print the versions of remex and of the server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Print it as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// Our own is printed before the server is asked: without one, that much is known.
pub(crate) async fn version(server: &Server, args: &Args) -> Result<u8, Failure> {
    if args.json {
        let answer = ping::ask(server).await?;
        let line = json::versions(VERSION, answer.version.as_deref(), &server.to_string());
        print::out(&line)?;
        return Ok(0);
    }
    print::out(&format!("remex {VERSION}\n"))?;
    let version = ping::ask(server).await?.version();
    print::out(&format!("remexd {version} at {server}\n"))?;
    Ok(0)
}

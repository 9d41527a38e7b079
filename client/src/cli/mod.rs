//! The command line: one module a subcommand, over what they share. Whatever goes wrong is a [`Failure`] in the end: one
//! line on stderr and an exit code.

mod args;
mod echo;
mod escape;
mod failure;
mod kill;
mod legacy;
mod ping;
mod print;
mod ps;
mod run;
mod values;
mod wait;

pub(crate) use args::Args;
pub(crate) use failure::Failure;

use args::Subcommand;

/// Does what was asked, and answers with the exit code.
pub(crate) async fn run(args: Args) -> Result<u8, Failure> {
    let server = &args.server;
    match args.command {
        Subcommand::Run(args) => run::run(server, args).await,
        Subcommand::Ps => ps::ps(server).await,
        Subcommand::Wait { id } => wait::wait(server, id).await,
        Subcommand::Kill { signal, id } => kill::kill(server, id, signal).await,
        Subcommand::Echo { text } => echo::echo(server, text).await,
        Subcommand::Ping { wait } => ping::ping(server, wait).await,
        Subcommand::Legacy(args) => legacy::legacy(args).await,
    }
}

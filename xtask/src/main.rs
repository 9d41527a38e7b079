//! Writes what is packed beside the programs, out of the very definitions by which they read their command lines: manual
//! pages and completions. `ci/deb` packs them; to see a page, `cargo run -p xtask -- /tmp/p && man /tmp/p/man/man1/remex.1`.

mod completions;
mod man;

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory, Parser};
use remex_client::cli::COMPLETION_VARIABLE;

/// Writes manual pages and completions.
#[derive(Debug, Parser)]
struct Args {
    /// The folder to write man/ and completions/ into; it is made
    folder: PathBuf,
}

/// How a program's completions come about.
enum Completion {
    /// A script knows all that can be typed.
    Script,
    /// A script asks the program, which this variable tells that it is asked.
    Program(&'static str),
}

/// A program that is packed.
struct Program {
    definition: Command,
    /// The section of its manual page.
    section: &'static str,
    completion: Completion,
}

fn programs() -> [Program; 3] {
    [
        Program {
            definition: remex_client::cli::definition(),
            section: "1",
            completion: Completion::Program(COMPLETION_VARIABLE),
        },
        Program {
            definition: remex_server::config::Args::command(),
            section: "8",
            completion: Completion::Script,
        },
        Program {
            definition: remex_gateway::config::Args::command(),
            section: "8",
            completion: Completion::Script,
        },
    ]
}

fn main() -> anyhow::Result<()> {
    let Args { folder } = Args::parse();
    for program in programs() {
        let name = program.definition.get_name().to_owned();
        for (file, text) in man::pages(&program)?
            .into_iter()
            .chain(completions::scripts(&program)?)
        {
            let file = folder.join(file);
            let written = file
                .parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&file, text));
            written.with_context(|| format!("{}, of {name}", file.display()))?;
        }
    }
    Ok(())
}

//! Completions for bash, zsh and fish, by the names under which each shell looks for them.

use std::{io, path::PathBuf};

use clap_complete::{
    Shell,
    env::{Bash, EnvCompleter, Fish, Zsh},
    generate,
};

use crate::{Completion, Program};

/// The scripts as files below the folder that is written.
pub(crate) fn scripts(program: &Program) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let name = program.definition.get_name();
    let mut files = Vec::new();
    for (shell, asking, file) in [
        (
            Shell::Bash,
            &Bash as &dyn EnvCompleter,
            format!("bash/{name}"),
        ),
        (Shell::Zsh, &Zsh, format!("zsh/_{name}")),
        (Shell::Fish, &Fish, format!("fish/{name}.fish")),
    ] {
        let mut text = Vec::new();
        match program.completion {
            Completion::Script => {
                generate(shell, &mut program.definition.clone(), name, &mut text);
            }
            Completion::Program(variable) => {
                asking.write_registration(variable, name, name, name, &mut text)?;
                if shell == Shell::Zsh {
                    // It reads the file when it needs what is in it for the first time: now.
                    text.extend(format!("\n_clap_dynamic_completer_{name} \"$@\"\n").bytes());
                }
            }
        }
        files.push((PathBuf::from("completions").join(file), text));
    }
    Ok(files)
}

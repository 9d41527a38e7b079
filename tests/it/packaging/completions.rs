//! Completions, as the shells ask for them.

use std::process::Command;

use super::{PROGRAMS, Pages};
use crate::harness::{binaries::binary, tools};

/// The words that bash offers for the last of `words`, after reading the script that is packed.
fn offered_by_bash(pages: &Pages, words: &[&str]) -> Vec<String> {
    let script = r#"
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=9
        complete -p "$1" >/dev/null || exit
        function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\) .*/\1/')
        "$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let folder = binary("remex").parent().expect("a folder");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let offered = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .arg(pages.path(&format!("completions/bash/{}", words[0])))
        .args(words)
        .env("PATH", path)
        .output()
        .expect("bash runs");
    let errors = String::from_utf8_lossy(&offered.stderr);
    assert!(offered.status.success(), "{words:?}: {errors}");
    let offered = String::from_utf8(offered.stdout).expect("UTF-8");
    offered.lines().map(|word| word.trim().to_owned()).collect()
}

#[test]
fn bash_completes_options_and_subcommands() {
    skip_unless!(tools::program("bash"));
    let pages = Pages::write();
    for (words, word) in [
        (&["remexd", "--ready"][..], "--ready-file"),
        (&["remexd", "--log-format", "j"], "json"),
        (&["remex-gateway", "--up"], "--upstream"),
        (&["remex", "ec"], "echo"),
        (&["remex", "run", "--time"], "--timeout"),
    ] {
        let offered = offered_by_bash(&pages, words);
        assert!(
            offered.iter().any(|offered| offered == word),
            "{words:?}: {offered:?}"
        );
    }
}

#[test]
fn each_shell_reads_its_script() {
    let pages = Pages::write();
    for (program, _) in PROGRAMS {
        for (shell, script) in [
            ("bash", format!("completions/bash/{program}")),
            ("zsh", format!("completions/zsh/_{program}")),
            ("fish", format!("completions/fish/{program}.fish")),
        ] {
            skip_unless!(tools::program(shell));
            let read = Command::new(shell)
                .arg("-n")
                .arg(pages.path(&script))
                .output();
            let read = read.expect("the shell runs");
            let errors = String::from_utf8_lossy(&read.stderr);
            assert!(
                read.status.success() && errors.is_empty(),
                "{script}: {errors}"
            );
        }
    }
}

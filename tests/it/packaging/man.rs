//! The manual pages.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{PROGRAMS, Pages, options_of};
use crate::harness::{binaries::binary, tools};

/// As man(1) shows it, and what it complains of.
fn shown(page: &Path) -> (String, String) {
    let shown = Command::new("man")
        .args(["--warnings=w", "--local-file"])
        .arg(page)
        .env("LC_ALL", "C.UTF-8")
        .env("MANWIDTH", "100")
        .stdin(Stdio::null())
        .output()
        .expect("man runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(shown.stdout), text(shown.stderr))
}

/// `program` and its subcommands, as its help lists them.
fn commands(program: &'static str) -> Vec<Vec<String>> {
    let help = Command::new(binary(program)).arg("--help").output();
    let help = String::from_utf8(help.expect("it runs").stdout).expect("UTF-8");
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| line.starts_with("  "));
    // Deeper is what goes on of a description.
    let names = listed.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let subcommands = names
        .filter(|name| {
            *name != "help" && name.starts_with(|letter: char| letter.is_ascii_lowercase())
        })
        .map(|name| vec![program.to_owned(), name.to_owned()]);
    std::iter::once(vec![program.to_owned()])
        .chain(subcommands)
        .collect()
}

#[test]
fn there_is_a_page_of_every_command_with_every_option() {
    skip_unless!(tools::program("man"));
    let pages = Pages::write();
    let mut count = 0;
    for (program, section) in PROGRAMS {
        for words in commands(program) {
            let name = words.join("-");
            let page = pages.path(&format!("man/man{section}/{name}.{section}"));
            let (text, complaints) = shown(&page);
            assert_eq!(complaints, "", "{name}");
            for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"] {
                assert!(text.lines().any(|line| line == heading), "{name}: {text}");
            }
            let has: BTreeSet<_> = text.split([' ', '\n', '=', '[', ',']).collect();
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            for option in options_of(&words) {
                assert!(has.contains(&*option), "{name} lacks {option}: {text}");
            }
            count += 1;
        }
    }
    assert!(count > 10, "{count} pages");
}

/// Those of hidden subcommands would tell what there is not yet.
#[test]
fn there_is_no_page_that_no_help_leads_to() {
    let pages = Pages::write();
    let known: BTreeSet<_> = commands("remex")
        .iter()
        .map(|words| format!("{}.1", words.join("-")))
        .collect();
    let found: BTreeSet<_> = fs::read_dir(pages.path("man/man1"))
        .expect("pages")
        .map(|page| page.expect("an entry").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect();
    assert_eq!(found, known);
}

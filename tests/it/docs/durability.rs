//! The commands of docs/durability.md: what they name is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where a target's tests are.
fn folder(package: &str, target: &str) -> PathBuf {
    let member = package.strip_prefix("remex-").unwrap_or(".");
    let below = match target {
        "--lib" => "src".to_owned(),
        target => format!("tests/{target}"),
    };
    root().join(member).join(below)
}

/// The Rust below `folder`.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut sources = Vec::new();
    for path in paths {
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            sources.push((path, text));
        }
    }
    sources
}

/// Whether `name`, such as `durable::crash` or `faults::a_test`, is a module or a test there.
fn is_there(sources: &[(PathBuf, String)], name: &str) -> bool {
    let last = name.rsplit("::").next().expect("a name");
    let is_module = |path: &Path| {
        path.file_stem().is_some_and(|stem| stem == last)
            || path.ends_with(format!("{last}/mod.rs"))
    };
    let definition = format!("fn {last}()");
    sources
        .iter()
        .any(|(path, text)| is_module(path) || text.contains(&definition))
}

#[test]
fn its_commands_name_what_is_there() {
    let text = fs::read_to_string(root().join("docs/durability.md")).expect("a page");
    let mut commands = 0;
    for quoted in text.split('`').skip(1).step_by(2) {
        let words: Vec<_> = quoted
            .split(' ')
            .filter(|word| !word.starts_with("REMEX_"))
            .collect();
        match &words[..] {
            ["cargo", "test", "-p", package, rest @ ..] => {
                let (target, names) = match rest {
                    ["--test", target, names @ ..] => (*target, names),
                    ["--lib", names @ ..] => ("--lib", names),
                    _ => panic!("{quoted}"),
                };
                let sources = sources(&folder(package, target));
                for name in names.iter().filter(|name| **name != "--") {
                    assert!(is_there(&sources, name), "no {name} for {quoted}");
                }
            }
            [program, ..] if program.starts_with("ci/") => {
                assert!(root().join(program).is_file(), "no {program}");
            }
            _ => continue,
        }
        commands += 1;
    }
    assert!(commands > 10, "{commands} commands");
}

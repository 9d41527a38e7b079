//! SECURITY.md names the test that shows each of its claims: here it is looked for.

use std::{collections::BTreeSet, fs, path::Path};

/// Folders with tests, and with what SECURITY.md speaks of.
const FOLDERS: [&str; 9] = [
    "client/src",
    "daemon/src",
    "docs",
    "fuzz/checks",
    "gateway",
    "server/src",
    "src",
    "supervisor",
    "tests",
];

/// The files below `folder`, as paths from the root.
fn files(root: &Path, folder: &str) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(root.join(folder)).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files.extend(self::files(root, &path));
        } else {
            files.push(path);
        }
    }
    files
}

/// What is between backticks, and names a test or a file.
fn named(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_test = |name: &str| {
        let name = name.rsplit("::").next().unwrap_or(name);
        name.len() > 20
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    let is_file = |name: &str| {
        name.contains('/') && !name.starts_with(['/', '*']) && !name.contains([' ', ':'])
    };
    quoted
        .filter(|name| is_test(name) || is_file(name))
        .collect()
}

#[test]
fn every_test_and_file_that_security_md_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    let files: Vec<_> = FOLDERS
        .iter()
        .flat_map(|folder| files(root, folder))
        .collect();
    let sources: Vec<_> = files
        .iter()
        .filter(|file| Path::new(file).extension().is_some_and(|end| end == "rs"))
        .map(|file| {
            (
                file,
                fs::read_to_string(root.join(file)).unwrap_or_default(),
            )
        })
        .collect();
    let named = named(&text);
    assert!(named.len() > 60, "hardly any is found: {named:?}");
    for name in named {
        if name.contains('/') {
            let is_there =
                |file: &String| file == name || (name.ends_with('/') && file.starts_with(name));
            assert!(files.iter().any(is_there), "there is no {name}");
            continue;
        }
        let (module, test) = match name.rsplit_once("::") {
            Some((module, test)) => (Some(module), test),
            None => (None, name),
        };
        let defined = format!("fn {test}(");
        let is_one = |(file, text): &(&String, String)| {
            text.contains(&defined)
                && module.is_none_or(|module| file.ends_with(&format!("/{module}.rs")))
        };
        assert!(sources.iter().any(is_one), "there is no test {name}");
    }
}

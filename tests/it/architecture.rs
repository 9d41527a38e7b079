//! ARCHITECTURE.md says how the packages depend on each other; here it is held against their manifests and their sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The only files outside `supervisor/` with code that the compiler cannot check, each for a call that needs it.
const UNSAFE_FILES: [&str; 5] = [
    "daemon/src/memory.rs",
    "daemon/src/net/handed.rs",
    "daemon/src/net/names.rs",
    "daemon/src/net/tcp_info.rs",
    "server/src/attached/registered.rs",
];

/// What code that is pure does not name: files, sockets, clocks, processes, the runtime.
const IMPURE: [&str; 12] = [
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "unix::net",
    "process::Command",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "tokio",
    "rustix::fs",
    "rustix::io",
];

/// The names of public types that several packages have, and the one thing that they mean by it.
const SHARED_NAMES: [(&str, &str); 9] = [
    ("Args", "the flags of a daemon"),
    ("Cause", "why the server ends a command"),
    ("Config", "the settings of a daemon, checked"),
    (
        "Ended",
        "the answer to who wants something of an execution that has ended",
    ),
    (
        "Event",
        "of an execution, where it happens and where it is received",
    ),
    (
        "Execution",
        "one of them, where it runs and where it is asked for",
    ),
    (
        "Exit",
        "of a command, where it happens and where it is received",
    ),
    (
        "ExitReason",
        "of a command, where it happens and where it is received",
    ),
    ("Stdin", "of a command, at either end"),
];

type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A package's name in the picture: that of its folder, or of the contract.
fn short(name: &str) -> String {
    name.strip_prefix("remex-").unwrap_or(name).to_owned()
}

/// The packages and what each depends on, without what only its tests and benchmarks need.
fn manifests() -> Arrows {
    let metadata = cargo(&[
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let is_ours =
        |dependency: &&Value| dependency["path"].is_string() && dependency["kind"].is_null();
    let name = |value: &Value| short(value["name"].as_str().expect("a name"));
    let arrows = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        dependencies.iter().filter(is_ours).map(name).collect()
    };
    packages
        .iter()
        .map(|package| (name(package), arrows(package)))
        .collect()
}

/// The same as ARCHITECTURE.md draws it: lines of `a --> b & c`.
fn picture() -> Arrows {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let (_, picture) = text.split_once("```mermaid\n").expect("a picture");
    let (picture, _) = picture.split_once("```").expect("its end");
    let mut arrows = Arrows::new();
    for line in picture.lines() {
        if let Some((from, to)) = line.split_once(" --> ") {
            let to = to.split(" & ").map(|name| name.trim().to_owned());
            arrows.entry(from.trim().to_owned()).or_default().extend(to);
        }
    }
    arrows
}

/// The Rust files below `folder`, without those of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.retain(|path| !path.to_string_lossy().ends_with("tests.rs"));
    files
}

/// All of the packages' own sources, each as its path from the root and its text.
fn all_sources() -> Vec<(String, String)> {
    let folders = [
        "src",
        "supervisor/src",
        "daemon/src",
        "client/src",
        "gateway/src",
        "server/src",
    ];
    let files = folders
        .iter()
        .flat_map(|folder| sources(&root().join(folder)));
    let named = files.map(|file| {
        let name = file.strip_prefix(root()).expect("below the root");
        let text = fs::read_to_string(&file).expect("UTF-8");
        (name.to_string_lossy().into_owned(), text)
    });
    named.collect()
}

/// What the compiler sees of `text` outside its unit tests: no comments, no spaces, groups of `use` written out.
fn code(text: &str) -> String {
    let (text, _) = text
        .split_once("#[cfg(test)]\nmod tests")
        .unwrap_or((text, ""));
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim());
    let code: Vec<_> = lines.collect();
    let code = code.join(" ");
    let imports = code.split("use ").skip(1).filter_map(|import| {
        let (import, _) = import.split_once(';')?;
        let (path, group) = import.split_once("::{")?;
        Some(written_out(path, group))
    });
    let imports: Vec<_> = imports.collect();
    format!("{code} {}", imports.join(" "))
}

/// `group` is what follows `path::{`; names at its first level alone.
fn written_out(path: &str, group: &str) -> String {
    let (mut depth, mut names, mut name) = (0, Vec::new(), String::new());
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(std::mem::take(&mut name)),
            _ => name.push(letter),
        }
    }
    names.push(name);
    let names = names.iter().map(|name| format!("{path}::{}", name.trim()));
    names.collect::<Vec<_>>().join(" ")
}

/// Whether a file's own words say that all of it is pure.
fn claims_to_be_pure(text: &str) -> bool {
    let about: Vec<_> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .collect();
    let about = about.join(" ");
    [
        " Pure.",
        " Pure;",
        " Pure:",
        "pure state machine",
        "as pure functions",
    ]
    .iter()
    .any(|claim| about.contains(claim))
}

#[test]
fn the_picture_is_that_of_the_manifests() {
    let mut manifests = manifests();
    let contract = manifests.remove("remex");
    assert_eq!(contract, Some(BTreeSet::new()), "the contract knows nobody");
    manifests.retain(|_, to| !to.is_empty());
    assert_eq!(picture(), manifests);
}

#[test]
fn packages_that_do_not_know_each_other() {
    let manifests = manifests();
    for (from, to) in [
        ("supervisor", "remex"),
        ("supervisor", "daemon"),
        ("daemon", "remex"),
        ("daemon", "supervisor"),
        ("gateway", "supervisor"),
        ("client", "supervisor"),
        ("client", "daemon"),
    ] {
        assert!(!manifests[from].contains(to), "{from} knows {to}");
    }
}

#[test]
fn supervision_has_no_runtime() {
    let tree = cargo(&[
        "tree",
        "--offline",
        "-p",
        "remex-supervisor",
        "-e",
        "normal,build",
        "--prefix",
        "none",
        "--all-features",
    ]);
    let names: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        names.contains("remex-supervisor") && names.contains("rustix"),
        "{names:?}"
    );
    for name in names {
        let is_async = ["tokio", "tonic", "hyper", "h2", "futures", "async", "prost"]
            .iter()
            .any(|runtime| name.starts_with(runtime));
        assert!(!is_async, "supervision depends on {name}");
        assert!(
            !name.starts_with("remex") || name == "remex-supervisor",
            "on {name}"
        );
    }
}

#[test]
fn what_claims_to_be_pure_is() {
    let pure: Vec<_> = all_sources()
        .into_iter()
        .filter(|(_, text)| claims_to_be_pure(text))
        .collect();
    let names: Vec<_> = pure.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["drain", "ending", "life", "output", "stdin"] {
        let file = format!("supervisor/src/lifecycle/{name}.rs");
        assert!(
            names.contains(&file.as_str()),
            "{file} no longer claims to be pure"
        );
    }
    for (name, text) in &pure {
        let code = code(text);
        for impure in IMPURE {
            assert!(
                !code.contains(impure),
                "{name} claims to be pure and names {impure}"
            );
        }
        // Elsewhere addresses are values like others.
        let is_supervision = name.starts_with("supervisor/");
        assert!(
            !is_supervision || !code.contains("std::net"),
            "{name} names std::net"
        );
    }
}

/// That the check above sees what it looks for.
#[test]
fn impurity_is_seen() {
    for text in [
        "use std::fs;",
        "use std::{\n    collections::{BTreeMap, HashMap},\n    fs::File,\n};",
        "use std::{io, net::{IpAddr, TcpStream}};",
        "fn f() { std::time::Instant::now(); }",
        "use tokio::sync::mpsc;",
    ] {
        let code = code(text);
        assert!(IMPURE.iter().any(|impure| code.contains(impure)), "{text}");
    }
    for text in [
        "// std::fs\nuse std::{collections::VecDeque, time::Duration};",
        "use std::time::{Duration, Instant};\n#[cfg(test)]\nmod tests { use std::fs; }",
    ] {
        let code = code(text);
        assert!(!IMPURE.iter().any(|impure| code.contains(impure)), "{text}");
    }
}

/// The types that `text` defines for other packages.
fn public_types(text: &str) -> BTreeSet<&str> {
    let (text, _) = text
        .split_once("#[cfg(test)]\nmod tests")
        .unwrap_or((text, ""));
    let defined = text.lines().filter_map(|line| {
        let line = line.trim_start().strip_prefix("pub ")?;
        let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
        let name = kinds.iter().find_map(|kind| line.strip_prefix(kind))?;
        name.split(|letter: char| !letter.is_alphanumeric()).next()
    });
    defined.collect()
}

#[test]
fn public_types_of_one_name_are_one_thing() {
    let sources = all_sources();
    let mut owners = BTreeMap::<_, BTreeSet<_>>::new();
    for (file, text) in &sources {
        let (package, _) = file.split_once("src/").expect("a source");
        for name in public_types(text) {
            owners.entry(name).or_default().insert(package);
        }
    }
    owners.retain(|_, packages| packages.len() > 1);
    let shared: BTreeSet<_> = owners.keys().copied().collect();
    let known = SHARED_NAMES.map(|(name, _)| name).into();
    assert_eq!(shared, known, "{owners:?}");
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let is_unsafe = |text: &str| {
        let (text, _) = text
            .split_once("#[cfg(test)]\nmod tests")
            .unwrap_or((text, ""));
        let mut lines = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        lines.any(|line| {
            let forms = [
                "unsafe {",
                "unsafe fn ",
                "unsafe impl ",
                "unsafe extern ",
                "expect(unsafe_code",
            ];
            forms.iter().any(|form| line.contains(form))
        })
    };
    let found: BTreeSet<_> = all_sources()
        .into_iter()
        .filter(|(name, text)| !name.starts_with("supervisor/") && is_unsafe(text))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(found, UNSAFE_FILES.map(str::to_owned).into());
    for library in ["src", "client/src", "gateway/src"] {
        let file = root().join(library).join("lib.rs");
        let text = fs::read_to_string(file).expect("a library");
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{library} does not forbid it"
        );
    }
}

//! The programs of the members, which cargo does not build for a root package's tests: built here, once a process, as
//! `cargo test --workspace` builds them, so that a gate that did so before builds nothing again.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

static BINARIES: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();

/// The built program of this name: `remexd`, `remex`, `remex-gateway`, or an example: `client`.
pub(crate) fn binary(name: &str) -> &'static Path {
    let binaries = BINARIES.get_or_init(build);
    binaries
        .get(name)
        .unwrap_or_else(|| panic!("no program {name} among {binaries:?}"))
}

fn build() -> BTreeMap<String, PathBuf> {
    let (target, profile) = target_and_profile();
    // With a test among the targets, dependencies have the features that they have in tests.
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--workspace",
            "--bins",
            "--examples",
            "--test",
            "it",
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--profile", &profile, "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the programs do not build:\n{said}"
    );
    let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    messages
        .filter_map(|message| program(&message.expect("cargo writes JSON")))
        .collect()
}

/// A program's name and file, if that is what `message` is about.
fn program(message: &serde_json::Value) -> Option<(String, PathBuf)> {
    let kind = message["target"]["kind"].as_array()?;
    let file = message["executable"].as_str()?;
    let name = message["target"]["name"].as_str()?;
    let is_test = message["profile"]["test"].as_bool()?;
    (kind.iter().any(|kind| kind == "bin" || kind == "example") && !is_test)
        .then(|| (name.to_owned(), PathBuf::from(file)))
}

/// Where this very test was built: `TARGET/PROFILE/deps/it-…`.
fn target_and_profile() -> (PathBuf, String) {
    let test = env::current_exe().expect("a test knows its file");
    let folder = test.ancestors().nth(2).expect("a folder of the profile");
    let profile = folder.file_name().expect("a name").to_string_lossy();
    let profile = match &*profile {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    };
    let target = folder.parent().expect("the target folder");
    (target.to_owned(), profile)
}

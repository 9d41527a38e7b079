//! The example clients: `ci/examples` builds those of other languages, once a process, and keeps what it has built.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
};

use super::tools::Missing;

/// How `ci/examples` says that a toolchain is missing.
const MISSING: i32 = 77;

static FOLDERS: Mutex<BTreeMap<&str, Result<PathBuf, Missing>>> = Mutex::new(BTreeMap::new());

/// The folder in which the example in `language` has been built.
pub(crate) fn example(language: &'static str) -> Result<PathBuf, Missing> {
    let mut folders = FOLDERS.lock().expect("no build has panicked");
    folders
        .entry(language)
        .or_insert_with(|| build(language))
        .clone()
}

fn build(language: &str) -> Result<PathBuf, Missing> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/examples");
    let output = Command::new(script)
        .arg(language)
        .stdin(Stdio::null())
        .output()
        .expect("bash runs ci/examples");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(MISSING) {
        let tool = said.trim();
        return Err(Missing::new(format!(
            "{tool}, for the client in {language}"
        )));
    }
    assert!(output.status.success(), "{language}: {said}");
    let folder = String::from_utf8_lossy(&output.stdout);
    Ok(PathBuf::from(folder.trim_end()))
}

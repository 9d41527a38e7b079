//! What a test needs and a machine may lack. There it is skipped by name; in CI, which brings everything, it fails.

use std::{
    env,
    path::{Path, PathBuf},
    thread,
};

use rustix::fs::{Access, access};

/// Nobody's, on every Linux.
pub(crate) const OTHER_USER: u32 = 65534;

/// What is missing.
#[derive(Debug, Clone)]
pub(crate) struct Missing(String);

impl Missing {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// What `$need` gives, a [`Missing`] otherwise ending the test.
macro_rules! skip_unless {
    ($need:expr) => {
        match $need {
            Ok(found) => found,
            Err(missing) => return $crate::harness::tools::skip(&missing),
        }
    };
}

/// Root's rights.
pub(crate) fn root() -> Result<(), Missing> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Missing("root".to_owned()))
}

/// The program of this name in PATH.
pub(crate) fn program(name: &str) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
        .ok_or_else(|| Missing(format!("{name}, which `ci/tools` installs")))
}

/// Says so, and fails where nothing may be missing.
pub(crate) fn skip(missing: &Missing) {
    let test = thread::current();
    let message = format!("{} needs {}", test.name().unwrap_or("a test"), missing.0);
    let ci = env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{message}, and CI=true");
    eprintln!("skipped: {message}");
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

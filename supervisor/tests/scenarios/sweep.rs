//! All of a program's tests once more, where trees are kept together by the sweep.

use std::{
    env,
    process::{self, Output},
};

/// Set where they are.
const BY_SWEEP: &str = "REMEX_TEST_BY_SWEEP";

pub(crate) fn is_by_sweep() -> bool {
    env::var_os(BY_SWEEP).is_some()
}

/// Runs this program once more: the sweep reaps whatever falls to its process, so that process has to be its own.
pub(crate) fn all_of_it_once_more() {
    if is_by_sweep() {
        return;
    }
    let Output {
        status,
        stdout,
        stderr,
    } = process::Command::new(env::current_exe().unwrap())
        .env(BY_SWEEP, "1")
        .output()
        .unwrap();
    let [said, errors] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(status.success(), "{said}{errors}");
    assert!(said.contains("outcomes::exit_codes ... ok"), "{said}");
}

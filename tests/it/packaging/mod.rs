//! How the programs come to a machine and live there: as services, as packages, with manuals and completions.

mod completions;
mod examples;
mod man;
mod notify;
mod units;

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::harness::binaries::binary;

/// The programs that are packed, each with the section of its manual page.
const PROGRAMS: [(&str, u8); 3] = [("remex", 1), ("remexd", 8), ("remex-gateway", 8)];

/// What is packed beside the programs, as `ci/deb` has it written.
struct Pages(TempDir);

impl Pages {
    fn write() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let written = Command::new(binary("xtask")).arg(folder.path()).output();
        let written = written.expect("xtask runs");
        let errors = String::from_utf8_lossy(&written.stderr);
        assert!(written.status.success(), "{errors}");
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The long options in the help of `words`, hidden ones left out.
fn options_of(words: &[&str]) -> Vec<String> {
    let help = Command::new(binary(words[0]))
        .args(&words[1..])
        .arg("--help")
        .output()
        .expect("it runs");
    assert!(help.status.success(), "{words:?}: {help:?}");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let lines = help.lines().map(str::trim_start);
    // `-n, --no-stdin` or `--server <URI>`.
    let options = lines
        .filter(|line| line.starts_with('-'))
        .filter_map(|line| {
            let (_, long) = line.split_once("--")?;
            let name = long.split([' ', '=', '[', ',']).next()?;
            Some(format!("--{name}"))
        });
    options.collect()
}

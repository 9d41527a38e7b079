//! Replays the seeds of the fuzz target, and what it found, without cargo-fuzz.

use std::{fs, panic::catch_unwind, path::Path};

/// Below this, somebody has moved the folder.
const LEAST_SEEDS: usize = 6;

#[test]
fn any_bytes_are_read_and_recovered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/journal");
    let mut seeds = 0;
    for file in fs::read_dir(folder).expect("a folder of seeds") {
        let path = file.expect("a seed").path();
        let seed = fs::read(&path).expect("a seed");
        let held = catch_unwind(|| crate::checks::check(&seed));
        assert!(held.is_ok(), "{}", path.display());
        seeds += 1;
    }
    assert!(seeds >= LEAST_SEEDS, "{seeds} seeds");
}

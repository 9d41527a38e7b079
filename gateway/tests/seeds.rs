//! Replays the seeds of the fuzz targets, and what they found, without cargo-fuzz.

#[path = "../../fuzz/checks.rs"]
mod checks;

use std::{fs, path::Path};

/// Below this, somebody has moved the folder.
const LEAST_SEEDS: usize = 20;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let files = fs::read_dir(folder.join(target)).unwrap();
    let mut seeds = 0;
    for file in files {
        let path = file.unwrap().path();
        // Its name is what a failure is found by.
        println!("{}", path.display());
        check(&fs::read(&path).unwrap());
        seeds += 1;
    }
    assert!(seeds >= LEAST_SEEDS, "{seeds} seeds");
}

#[test]
fn requests() {
    replay("request", checks::request);
}

#[test]
fn listeners() {
    replay("listener", checks::listener);
}

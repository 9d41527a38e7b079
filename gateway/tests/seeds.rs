//! Replays the seeds of the fuzz targets, and what they found, without cargo-fuzz.

#[path = "../../fuzz/checks/amplification.rs"]
mod amplification;
#[path = "../../fuzz/checks/listener.rs"]
mod listener;
#[path = "../../fuzz/checks/request.rs"]
mod request;

use std::{fs, panic::catch_unwind, path::Path};

use proptest::prelude::*;

/// Below this, somebody has moved the folder.
const LEAST_SEEDS: usize = 20;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let files = fs::read_dir(folder.join(target)).expect("a folder of seeds");
    let mut seeds = 0;
    for file in files {
        let path = file.expect("a seed").path();
        let seed = fs::read(&path).expect("a seed");
        let held = catch_unwind(|| check(&seed));
        assert!(held.is_ok(), "{}", path.display());
        seeds += 1;
    }
    assert!(seeds >= LEAST_SEEDS, "{seeds} seeds");
}

#[test]
fn requests() {
    replay("request", request::check);
}

#[test]
fn listeners() {
    replay("listener", listener::check);
}

#[test]
fn promise_8_datagrams() {
    replay("amplification", amplification::check);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// What no seed is like.
    #[test]
    fn promise_8_any_datagram(input: Vec<u8>) {
        amplification::check(&input);
    }
}

#![no_main]

#[path = "../checks/journal.rs"]
mod checks;
#[expect(dead_code, reason = "it fails nothing and loses nothing here")]
#[path = "../../supervisor/tests/journal/disk/mod.rs"]
mod disk;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::check(input));

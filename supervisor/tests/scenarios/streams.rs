//! What a command writes.

use remex_supervisor::lifecycle::outcome::ExitReason;

use super::told::code;
use crate::commands::shell;

/// More than all that is kept on the way.
pub(crate) const LARGE: usize = 5_000_000;

/// Bytes of all values, in no period that a buffer has.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(LARGE).collect()
}

/// Not `assert_eq`, whose message would be 15 MB.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "some byte differs");
}

#[test]
fn both() {
    let told = shell("echo out; echo err >&2; exec >&-; echo more >&2; exit 1").run();
    assert_eq!(told.stdout, b"out\n");
    assert_eq!(told.stderr, b"err\nmore\n");
    assert_eq!(told.ending(), (code(1), ExitReason::Own));
}

#[test]
fn both_at_once_and_large() {
    let text = "head -c 5000000 /dev/zero & head -c 5000000 /dev/zero >&2; wait";
    let told = shell(text).run();
    assert_same(&told.stdout, &vec![0; LARGE]);
    assert_same(&told.stderr, &vec![0; LARGE]);
}

#[test]
fn binary() {
    let noise = noise();
    let mut command = shell("exec cat");
    command.stdin = noise.clone();
    assert_same(&command.run().stdout, &noise);
}

//! Which signals a command would not have the default action of, and is given it.

use std::{fs, ops::RangeInclusive};

const ALL: RangeInclusive<i32> = 1..=64;

/// The signals to reset in a child: those that this process ignores and, unless the kernel `resets_handlers`, those that it
/// may handle.
pub(super) fn to_reset(resets_handlers: bool) -> Vec<i32> {
    if resets_handlers {
        ignored()
    } else {
        ALL.collect()
    }
}

/// The signals that this process ignores, which a program that it executes would ignore too; all of them where the kernel
/// does not tell.
fn ignored() -> Vec<i32> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = ignored_of(&status).unwrap_or(u64::MAX);
    ALL.filter(|signal| mask & (1 << (signal - 1)) != 0)
        .collect()
}

fn ignored_of(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        let status =
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert_eq!(ignored_of(status), Some(0x1001));
        assert_eq!(ignored_of("SigIgn:\tx\n"), None);
        // Rust's runtime ignores it before main.
        assert!(ignored().contains(&libc::SIGPIPE));
        assert!(!ignored().contains(&libc::SIGTERM));
    }
}

//! Memory that was freed, given back to the machine. glibc's allocator keeps a heap for each thread and returns by itself
//! only what is free at a heap's end: what a burst has left behind a few small things that live on would stay for ever.
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "malloc_trim, which no crate wraps")
)]

use std::{fs, time::Duration};

use tokio::{task::block_in_place, time::interval};

/// How often the process looks at what it keeps.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a process may keep without a look at how much of it is free.
const SMALL_BYTES: usize = 24 * 1024 * 1024;

/// Gives back what is free, now and then, for as long as it is polled.
pub(super) async fn give_back() {
    let mut ticks = interval(INTERVAL);
    loop {
        ticks.tick().await;
        // Where it cannot be read, a look is cheap enough.
        if resident().is_none_or(|bytes| bytes > SMALL_BYTES) {
            block_in_place(trim);
        }
    }
}

/// What the process has in memory.
fn resident() -> Option<usize> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = pages.split(' ').nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size()))
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: it is given no pointer, and takes malloc's own locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators are left to themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_freed_between_what_lives_is_given_back() {
        const BLOCK: usize = 64 * 1024;
        const BLOCKS: usize = 2048;
        // Two threads' heaps, each block of one behind a small one that lives on.
        let fill = || {
            let pairs = (0..BLOCKS).map(|_| (vec![1_u8; BLOCK], Box::new(1_u8)));
            let (large, small): (Vec<_>, Vec<_>) = pairs.unzip();
            drop(large);
            small
        };
        let before = resident().unwrap();
        let live =
            [std::thread::spawn(fill), std::thread::spawn(fill)].map(std::thread::JoinHandle::join);
        trim();
        let after = resident().unwrap();
        let all = 2 * BLOCK * BLOCKS;
        assert!(after < before + all / 8, "{before} {after}");
        drop(live);
    }
}

//! Waiting for a descriptor or a clock that may be absent: what is absent never comes.

#![expect(unsafe_code, reason = "tokio asks for a promise about descriptors")]

use std::{
    future::pending,
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use remex_supervisor::process::Pidfd;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

/// What holds a descriptor.
///
/// # Safety
///
/// The descriptor must stay open, and the same, for as long as this lives.
pub(super) unsafe trait Held: AsRawFd {}

// SAFETY: it owns the descriptor, and nothing exchanges it.
unsafe impl Held for OwnedFd {}
// SAFETY: it shares the leader that owns the descriptor, which nothing exchanges.
unsafe impl Held for Pidfd {}

/// Watches a non-blocking descriptor.
pub(super) fn register<F: Held>(fd: F, interest: Interest) -> io::Result<AsyncFd<F>> {
    // SAFETY: the AsyncFd owns `fd`, which keeps to what Held says.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Returns when `fd` may be read, if that is wanted. An error comes back from the read that follows.
pub(super) async fn readable<F: Held>(fd: Option<&AsyncFd<F>>, wanted: bool) {
    match fd {
        Some(fd) if wanted => drop(fd.readable().await),
        _ => pending().await,
    }
}

/// Returns when `fd` may be written, if that is wanted. An error comes back from the write that follows.
pub(super) async fn writable<F: Held>(fd: Option<&AsyncFd<F>>, wanted: bool) {
    match fd {
        Some(fd) if wanted => drop(fd.writable().await),
        _ => pending().await,
    }
}

/// Returns at `deadline`.
pub(super) async fn sleep_or_never(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

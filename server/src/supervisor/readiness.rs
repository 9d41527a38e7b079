//! Waiting for a descriptor or a clock that may be absent: what is absent never comes.

#![expect(unsafe_code, reason = "tokio asks for a promise about descriptors")]

use std::{future::pending, io, os::fd::OwnedFd};

use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

/// Watches a non-blocking descriptor.
pub(super) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd keeps its descriptor open, and the same, for as long as it lives; the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Returns when `fd` may be read, if that is wanted. An error comes back from the read that follows.
pub(super) async fn readable(fd: Option<&AsyncFd<OwnedFd>>, wanted: bool) {
    match fd {
        Some(fd) if wanted => drop(fd.readable().await),
        _ => pending().await,
    }
}

/// Returns when `fd` may be written, if that is wanted. An error comes back from the write that follows.
pub(super) async fn writable(fd: Option<&AsyncFd<OwnedFd>>, wanted: bool) {
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

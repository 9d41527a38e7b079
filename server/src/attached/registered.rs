//! Descriptors as tokio watches them, and waiting for what may be absent: what is absent never comes.

#![expect(unsafe_code, reason = "tokio asks for a promise about descriptors")]

use std::{future::pending, io};

use remex_supervisor::{
    durable::Link,
    lifecycle::port::{Descriptor, Interest, Watched},
};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

/// A descriptor that is registered with the runtime.
#[derive(Debug)]
pub struct Registered(AsyncFd<Descriptor>);

impl Watched for Registered {
    fn watch(descriptor: Descriptor, interest: Interest) -> Result<Self, Descriptor> {
        // SAFETY: the AsyncFd owns the descriptor, which stays the same for as long as it lives.
        let registered = unsafe { AsyncFd::register_with_interest(descriptor, of(interest)) };
        registered.map(Self).map_err(|error| {
            let (descriptor, error) = error.into_parts();
            tracing::warn!(%error, "cannot watch a descriptor of a command; looking at it now and then");
            descriptor
        })
    }

    fn descriptor(&self) -> &Descriptor {
        self.0.get_ref()
    }

    fn try_io<T>(
        &self,
        interest: Interest,
        mut io: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.0.try_io(of(interest), |_| io())
    }
}

/// A supervisor's link, registered with the runtime.
pub(crate) fn watch_link(link: Link) -> io::Result<AsyncFd<Link>> {
    // SAFETY: the AsyncFd owns the link, whose socket stays the same for as long as it lives.
    let registered = unsafe { AsyncFd::register(link) };
    registered.map_err(|error| error.into_parts().1)
}

fn of(interest: Interest) -> tokio::io::Interest {
    match interest {
        Interest::Readable => tokio::io::Interest::READABLE,
        Interest::Writable => tokio::io::Interest::WRITABLE,
    }
}

/// Returns when `registered` may be read. An error comes back from the read that follows.
pub(super) async fn readable(registered: Option<&Registered>) {
    match registered {
        Some(registered) => drop(registered.0.readable().await),
        None => pending().await,
    }
}

/// Returns when `registered` may be written. An error comes back from the write that follows.
pub(super) async fn writable(registered: Option<&Registered>) {
    match registered {
        Some(registered) => drop(registered.0.writable().await),
        None => pending().await,
    }
}

/// Returns at `deadline`.
pub(crate) async fn sleep_or_never(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

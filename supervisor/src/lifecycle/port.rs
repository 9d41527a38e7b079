//! One descriptor that an engine reads, writes or waits for, as its host watches it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::Pidfd;

/// A descriptor that nothing is announced of is looked at this often.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What is waited for on a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read, or its end.
    Readable,
    /// There is room to write.
    Writable,
}

/// A descriptor that an execution owns. It stays open, and the same, for as long as this lives.
#[derive(Debug)]
pub enum Descriptor {
    /// The server's end of a pipe or of a terminal, non-blocking.
    Stream(OwnedFd),
    /// The leader's pidfd.
    Leader(Pidfd),
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Stream(fd) => fd.as_raw_fd(),
            Self::Leader(pidfd) => pidfd.as_raw_fd(),
        }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stream(fd) => fd.as_fd(),
            Self::Leader(pidfd) => pidfd.as_fd(),
        }
    }
}

/// A descriptor as a host watches it: registered with a runtime, or, under poll(2), as it is.
pub trait Watched: Sized {
    /// Begins to watch. Where the host cannot, the descriptor comes back and is looked at every [`LOOK_INTERVAL`].
    fn watch(descriptor: Descriptor, interest: Interest) -> Result<Self, Descriptor>;

    /// The descriptor.
    fn descriptor(&self) -> &Descriptor;

    /// Runs `io` if, as far as the host knows, the descriptor is ready; else, and if `io` finds that it is not, the answer is
    /// `WouldBlock`, and the host announces it anew.
    fn try_io<T>(&self, interest: Interest, io: impl FnMut() -> io::Result<T>) -> io::Result<T>;
}

/// A descriptor as a host under poll(2) watches it: as it is, since poll(2) is given anew each time what it is to watch.
#[derive(Debug)]
pub struct Polled(Descriptor);

impl Watched for Polled {
    fn watch(descriptor: Descriptor, _: Interest) -> Result<Self, Descriptor> {
        Ok(Self(descriptor))
    }

    fn descriptor(&self) -> &Descriptor {
        &self.0
    }

    /// Nobody knows whether it is ready but the kernel, which says so.
    fn try_io<T>(&self, _: Interest, mut io: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        io()
    }
}

/// A descriptor, watched or not.
#[derive(Debug)]
pub(super) struct Port<F> {
    interest: Interest,
    source: Source<F>,
    /// When it is looked at without having been announced.
    look_at: Option<Duration>,
    /// The last announcement was for nothing.
    was_idle: bool,
}

#[derive(Debug)]
enum Source<F> {
    /// `None` for a moment alone, while it begins to be watched.
    Unwatched(Option<Descriptor>),
    Watched(F),
}

impl<F: Watched> Port<F> {
    /// Not watched yet: nothing is announced, and it is not looked at either.
    pub(super) fn new(descriptor: Descriptor, interest: Interest) -> Self {
        Self {
            interest,
            source: Source::Unwatched(Some(descriptor)),
            look_at: None,
            was_idle: false,
        }
    }

    /// Watched from now on.
    pub(super) fn watched(descriptor: Descriptor, interest: Interest) -> Self {
        let mut port = Self::new(descriptor, interest);
        port.watch(Duration::ZERO);
        port
    }

    /// Has the host announce when it is ready, from `now` on; what the host cannot watch is looked at by the clock.
    pub(super) fn watch(&mut self, now: Duration) {
        let Source::Unwatched(unwatched) = &mut self.source else {
            return;
        };
        let Some(descriptor) = unwatched.take() else {
            return;
        };
        match F::watch(descriptor, self.interest) {
            Ok(watched) => {
                self.source = Source::Watched(watched);
                self.look_at = None;
            }
            Err(descriptor) => {
                self.source = Source::Unwatched(Some(descriptor));
                self.look_at = Some(now + LOOK_INTERVAL);
            }
        }
    }

    /// What the host waits for; `None` while it is left alone or looked at by the clock.
    pub(super) fn awaited(&self) -> Option<&F> {
        match &self.source {
            Source::Watched(watched) if self.look_at.is_none() => Some(watched),
            _ => None,
        }
    }

    /// When it is looked at without having been announced.
    pub(super) fn look_at(&self) -> Option<Duration> {
        self.look_at
    }

    /// Leaves it alone until `until`.
    pub(super) fn rest(&mut self, until: Duration) {
        self.look_at = Some(until);
    }

    /// Whether it is to be looked at by `now`; its rest is over then.
    pub(super) fn wake_if_due(&mut self, now: Duration) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// Ends its rest.
    pub(super) fn wake(&mut self) {
        self.look_at = None;
    }

    /// Runs `io` on the descriptor. `ask` has the kernel asked even if nothing was announced. A hang-up stays announced for
    /// ever: one that brings nothing twice in a row has the port looked at by the clock.
    pub(super) fn try_io<T>(
        &mut self,
        now: Duration,
        ask: bool,
        mut io: impl FnMut(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let interest = self.interest;
        let (result, is_watched) = match &self.source {
            Source::Unwatched(None) => return Err(io::ErrorKind::WouldBlock.into()),
            Source::Unwatched(Some(descriptor)) => (io(descriptor.as_fd()), false),
            Source::Watched(watched) => {
                let fd = watched.descriptor().as_fd();
                match watched.try_io(interest, || io(fd)) {
                    Err(error) if ask && is_not_now(&error) => (io(fd), true),
                    result => (result, true),
                }
            }
        };
        match result {
            Err(error) if is_not_now(&error) => {
                let was_announced = is_watched && !ask;
                let was_idle = was_announced && std::mem::replace(&mut self.was_idle, true);
                if !is_watched || (was_idle && self.is_hung_up()) {
                    self.look_at = Some(now + LOOK_INTERVAL);
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
            result => {
                self.was_idle = false;
                result
            }
        }
    }

    /// Whether the other end has gone, so that readiness is announced whatever there is.
    pub(super) fn is_hung_up(&self) -> bool {
        let Some(descriptor) = self.descriptor() else {
            return false;
        };
        let mut fds = [PollFd::new(descriptor, PollFlags::empty())];
        let at_once = Timespec::default();
        poll(&mut fds, Some(&at_once)).is_ok()
            && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// The descriptor.
    pub(super) fn descriptor(&self) -> Option<&Descriptor> {
        match &self.source {
            Source::Unwatched(descriptor) => descriptor.as_ref(),
            Source::Watched(watched) => Some(watched.descriptor()),
        }
    }
}

/// Whether the kernel says to come back later.
fn is_not_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

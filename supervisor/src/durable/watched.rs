//! Waiting by poll(2) for descriptors, each with what it is watched for, and for a point in time.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What is waited for, in the order in which it is to be served.
#[derive(Debug)]
pub(super) struct Watch<'a, S> {
    fds: Vec<PollFd<'a>>,
    sources: Vec<S>,
    deadline: Option<Instant>,
}

impl<'a, S: Copy> Watch<'a, S> {
    pub(super) fn new() -> Self {
        Self {
            fds: Vec::new(),
            sources: Vec::new(),
            deadline: None,
        }
    }

    /// Waits for `interest` in `fd`, too.
    pub(super) fn add(&mut self, fd: BorrowedFd<'a>, interest: PollFlags, source: S) {
        self.fds.push(PollFd::from_borrowed_fd(fd, interest));
        self.sources.push(source);
    }

    /// Waits until `at` at most.
    pub(super) fn until(&mut self, at: Option<Instant>) {
        self.deadline = [self.deadline, at].into_iter().flatten().min();
    }

    /// Waits, and says which sources are ready. What keeps it from waiting passes.
    pub(super) fn wait(mut self) -> Vec<S> {
        let left = self
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        // poll(2) rounds down to nothing what is less than its clock's step: then it is asked again at once.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut self.fds, left.as_ref()).is_err() {
            return Vec::new();
        }
        let ready = self.fds.iter().zip(self.sources);
        ready
            .filter_map(|(fd, source)| (!fd.revents().is_empty()).then_some(source))
            .collect()
    }
}

/// The point in time at `after` from `start`; beyond the clock's end: never.
pub(super) fn at(start: Instant, after: Option<Duration>) -> Option<Instant> {
    start.checked_add(after?)
}

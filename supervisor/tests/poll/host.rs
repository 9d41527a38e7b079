//! The host: poll(2) on what the engine wants, and nothing else.

use std::time::{Duration, Instant};

use remex_supervisor::lifecycle::{
    engine::{Engine, Ready},
    event::Exit,
    outlet::Outlet,
    port::{Polled, Watched},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// Runs one execution on the thread that calls it.
pub(crate) struct Host<O> {
    pub(crate) engine: Engine<Polled, O>,
    spawned: Instant,
}

impl<O: Outlet> Host<O> {
    /// Hosts an execution that was spawned just now.
    pub(crate) fn new(engine: Engine<Polled, O>) -> Self {
        Self {
            engine,
            spawned: Instant::now(),
        }
    }

    /// The time since the spawn.
    pub(crate) fn now(&self) -> Duration {
        self.spawned.elapsed()
    }

    /// Waits for one of the things that the engine wants, at most for `patience`, and has the engine do what is to be done
    /// then. Returns how the execution ended, once it has.
    pub(crate) fn step(&mut self, patience: Duration) -> Option<&Exit> {
        for ready in self.wait(patience) {
            self.engine.ready(ready, self.spawned.elapsed());
        }
        self.engine.exit()
    }

    fn wait(&self, patience: Duration) -> Vec<Ready> {
        let now = self.now();
        let wants = self.engine.wants(now);
        let readable = |fd, what| (PollFd::new(fd, PollFlags::IN), what);
        let leader = wants
            .leader
            .map(|fd| readable(fd.descriptor(), Ready::Leader));
        let outputs = wants.outputs.into_iter().flatten();
        let outputs = outputs.map(|(index, fd)| readable(fd.descriptor(), Ready::Output(index)));
        let stdin = wants.stdin.map(Polled::descriptor);
        let stdin = stdin.map(|fd| (PollFd::new(fd, PollFlags::OUT), Ready::Stdin));
        let (mut fds, whats): (Vec<_>, Vec<_>) =
            leader.into_iter().chain(outputs).chain(stdin).unzip();

        let deadline = wants.deadline.map(|at| at.saturating_sub(now));
        let timeout = Timespec::try_from(deadline.map_or(patience, |until| until.min(patience)));
        let found = poll(&mut fds, timeout.as_ref().ok());
        assert!(matches!(found, Ok(_) | Err(Errno::INTR)), "{found:?}");

        let announced = fds.iter().zip(whats);
        let mut ready: Vec<_> = announced
            .filter_map(|(fd, what)| (!fd.revents().is_empty()).then_some(what))
            .collect();
        // Behind the leader's end, which makes a deadline void, and ahead of all else.
        if wants.deadline.is_some_and(|at| at <= self.now()) {
            let place = usize::from(ready.first() == Some(&Ready::Leader));
            ready.insert(place, Ready::Deadline);
        }
        ready
    }
}

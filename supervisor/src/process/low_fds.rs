//! Low descriptors for what a child gets as its stdin, stdout and stderr.
//!
//! A child starts with the server's own table of descriptors, and leaves it with a copy that reaches up to the highest it
//! needs; exec then closes what it has too many. New pipes have high numbers where much is open, and with 4,000 open the
//! copying and closing takes 2 ms. So a few low numbers are held from the start, and the child's ends are put there.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{Mode, OFlags},
    io::{DupFlags, dup3},
    process::{Resource, getrlimit},
};

/// Most spawns at once that find low descriptors; one more does without.
const MAX_TRIPLES: usize = 64;

/// Spawns that a thread has in hand: while some wait to be released, it begins others.
const A_THREAD: usize = 4;

/// Where few descriptors may be open there are no more than one for so many of them, beside one for each thread.
const DESCRIPTORS_A_TRIPLE: u64 = 64;

/// A child's three descriptors.
type Triple = [OwnedFd; 3];

/// Low descriptors, and which of them are free.
#[derive(Debug)]
pub(super) struct LowFds {
    null: OwnedFd,
    free: Mutex<Vec<Triple>>,
}

/// Three that are taken. They mean the null device again when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    from: Arc<LowFds>,
    /// Some, until this is dropped.
    triple: Option<Triple>,
    fds: [RawFd; 3],
}

impl LowFds {
    /// Some for each thread that may spawn; to be made before much is open.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty());
        let null = null.map_err(|errno| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("/dev/null: {error}"))
        })?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut free = Vec::new();
        let may_be_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let affordable = usize::try_from(may_be_open / DESCRIPTORS_A_TRIPLE).unwrap_or(usize::MAX);
        let wanted = threads.saturating_mul(A_THREAD);
        let triples = wanted.min(affordable).max(threads).min(MAX_TRIPLES);
        for _ in 0..triples {
            free.push([null.try_clone()?, null.try_clone()?, null.try_clone()?]);
        }
        Ok(Arc::new(Self {
            null,
            free: Mutex::new(free),
        }))
    }

    /// The null device.
    pub(super) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// Puts `ends` into three, if some are free.
    pub(super) fn take(self: &Arc<Self>, ends: [BorrowedFd<'_>; 3]) -> io::Result<Option<Taken>> {
        let Some(triple) = self.lock().pop() else {
            return Ok(None);
        };
        let mut taken = Taken {
            from: Arc::clone(self),
            fds: triple.each_ref().map(AsRawFd::as_raw_fd),
            triple: Some(triple),
        };
        taken.put(ends)?;
        Ok(Some(taken))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Triple>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// What are to become 0, 1 and 2.
    pub(super) fn fds(&self) -> [RawFd; 3] {
        self.fds
    }

    fn put(&mut self, ends: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        for (place, end) in self.triple.iter_mut().flatten().zip(ends) {
            dup3(end, place, DupFlags::CLOEXEC)?;
        }
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // A pipe that stayed open here would never end. What cannot be emptied is closed.
        let from = Arc::clone(&self.from);
        if self.put([from.null(); 3]).is_ok()
            && let Some(triple) = self.triple.take()
        {
            from.lock().push(triple);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn what_is_put_there_stays_until_it_is_dropped() {
        let low = LowFds::new().unwrap();
        let free = low.lock().len();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let taken = low
            .take([low.null(), write.as_fd(), write.as_fd()])
            .unwrap()
            .unwrap();
        assert_eq!(low.lock().len(), free - 1);
        drop(write);
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let mut byte = [0];
        assert_eq!(
            rustix::io::read(&read, &mut byte),
            Err(rustix::io::Errno::AGAIN)
        );
        drop(taken);
        assert_eq!(rustix::io::read(&read, &mut byte), Ok(0));
        assert_eq!(low.lock().len(), free);
    }

    #[test]
    fn one_spawn_too_many_does_without() {
        let low = LowFds::new().unwrap();
        let mut taken = Vec::new();
        while let Some(three) = low.take([low.null(); 3]).unwrap() {
            taken.push(three);
            assert!(taken.len() <= MAX_TRIPLES);
        }
        assert!(!taken.is_empty());
        taken.pop();
        assert!(low.take([low.null(); 3]).unwrap().is_some());
    }
}

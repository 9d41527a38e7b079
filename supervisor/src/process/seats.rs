//! Low descriptors for what a child gets as its stdin, stdout and stderr.
//!
//! A child starts with the server's own table of descriptors, and leaves it with a copy that reaches up to the highest it
//! needs; exec then closes what it has too many. New pipes have high numbers where much is open, and with 4,000 open the
//! copying and closing takes 2 ms. So a few low numbers are held from the start, and the child's ends are put there.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{Mode, OFlags},
    io::{DupFlags, dup3},
};

/// Most spawns at once that find a seat; one more does without.
const MAX_SEATS: usize = 64;

/// A child's three descriptors.
type Seat = [OwnedFd; 3];

/// The seats that are free.
#[derive(Debug)]
pub(super) struct Seats {
    null: OwnedFd,
    free: Mutex<Vec<Seat>>,
}

/// A seat that is taken. It is empty again when it is dropped.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    seats: &'a Seats,
    /// Some, until this is dropped.
    seat: Option<Seat>,
    fds: [RawFd; 3],
}

impl Seats {
    /// One for each thread that may spawn at a time; to be made before much is open.
    pub(super) fn new() -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut free = Vec::new();
        for _ in 0..threads.min(MAX_SEATS) {
            free.push([null.try_clone()?, null.try_clone()?, null.try_clone()?]);
        }
        Ok(Self {
            null,
            free: Mutex::new(free),
        })
    }

    /// The null device.
    pub(super) fn null(&self) -> BorrowedFd<'_> {
        self.null.as_fd()
    }

    /// Puts `ends` into a seat, if one is free.
    pub(super) fn take(&self, ends: [BorrowedFd<'_>; 3]) -> io::Result<Option<Taken<'_>>> {
        let Some(seat) = self.lock().pop() else {
            return Ok(None);
        };
        let mut taken = Taken {
            seats: self,
            fds: seat.each_ref().map(AsRawFd::as_raw_fd),
            seat: Some(seat),
        };
        taken.put(ends)?;
        Ok(Some(taken))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken<'_> {
    /// What are to become 0, 1 and 2.
    pub(super) fn fds(&self) -> [RawFd; 3] {
        self.fds
    }

    fn put(&mut self, ends: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        for (place, end) in self.seat.iter_mut().flatten().zip(ends) {
            dup3(end, place, DupFlags::CLOEXEC)?;
        }
        Ok(())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        // A pipe that stayed open here would never end. What cannot be emptied is closed.
        if self.put([self.seats.null(); 3]).is_ok()
            && let Some(seat) = self.seat.take()
        {
            self.seats.lock().push(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn a_seat_holds_what_is_put_there_until_it_is_empty_again() {
        let seats = Seats::new().unwrap();
        let free = seats.lock().len();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let taken = seats
            .take([seats.null(), write.as_fd(), write.as_fd()])
            .unwrap()
            .unwrap();
        assert_eq!(seats.lock().len(), free - 1);
        drop(write);
        rustix::io::ioctl_fionbio(&read, true).unwrap();
        let mut byte = [0];
        assert_eq!(
            rustix::io::read(&read, &mut byte),
            Err(rustix::io::Errno::AGAIN)
        );
        drop(taken);
        assert_eq!(rustix::io::read(&read, &mut byte), Ok(0));
        assert_eq!(seats.lock().len(), free);
    }

    #[test]
    fn one_spawn_too_many_does_without() {
        let seats = Seats::new().unwrap();
        let mut taken = Vec::new();
        while let Some(seat) = seats.take([seats.null(); 3]).unwrap() {
            taken.push(seat);
            assert!(taken.len() <= MAX_SEATS);
        }
        assert!(!taken.is_empty());
        taken.pop();
        assert!(seats.take([seats.null(); 3]).unwrap().is_some());
    }
}

//! What holds a child that is ready to execute its program, until the server lets it.

#![expect(
    unsafe_code,
    reason = "waits in a child that shares memory, where errors in errno are not allowed"
)]

use std::{
    ffi::c_long,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::futex;

use super::{patience::SPAWN_BOUND, raw};

const SHUT: u32 = 0;
/// A child waits for it.
const AWAITED: u32 = 1;
const OPEN: u32 = 2;

/// Shut at first, then open for good.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU32);

impl Gate {
    /// Lets the child pass.
    pub(super) fn open(&self) {
        if self.0.swap(OPEN, Ordering::AcqRel) == AWAITED {
            let _ = futex::wake(&self.0, futex::Flags::PRIVATE, 1);
        }
    }

    /// Waits until it is open, in the child. `false`: a server would have opened it by now, so there is none any more.
    pub(super) fn pass(&self) -> bool {
        let shut = self
            .0
            .compare_exchange(SHUT, AWAITED, Ordering::AcqRel, Ordering::Acquire);
        if shut.is_err() {
            return true;
        }
        loop {
            let waited = self.wait();
            if self.0.load(Ordering::Acquire) == OPEN {
                return true;
            }
            if waited == Err(libc::ETIMEDOUT) {
                return false;
            }
        }
    }

    fn wait(&self) -> raw::Answer {
        let wait = c_long::from(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
        // The kernel's struct timespec: seconds and nanoseconds.
        let bound = [SPAWN_BOUND.as_secs(), 0];
        let arguments = [
            self.0.as_ptr() as usize,
            raw::long(wait.cast_unsigned()),
            AWAITED as usize,
            ptr::from_ref(&bound) as usize,
            0,
            0,
        ];
        // SAFETY: the word and the time are there for as long as the call takes, which changes neither.
        unsafe { raw::syscall(libc::SYS_futex, arguments) }
    }

    /// Whether a child has come to it, and waits.
    #[cfg(test)]
    pub(super) fn is_awaited(&self) -> bool {
        self.0.load(Ordering::Acquire) == AWAITED
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_passes_once_it_is_open_and_others_at_once() {
        let gate = Gate::default();
        thread::scope(|scope| {
            let passed = scope.spawn(|| gate.pass());
            while !gate.is_awaited() {
                thread::yield_now();
            }
            assert!(!passed.is_finished());
            gate.open();
            assert!(passed.join().unwrap());
        });
        assert!(gate.pass());
        gate.open();
        assert!(gate.pass());
    }
}

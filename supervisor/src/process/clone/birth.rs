//! What a child uses of this memory, and for how long.

#![expect(unsafe_code, reason = "two processes share memory")]

use std::{
    cell::UnsafeCell,
    ffi::c_void,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use rustix::{io::Errno, thread::futex};

use super::{super::raw, stack::Stack};

/// What a child does in memory that is not its own: nothing that allocates, locks, unwinds, or touches thread-local
/// storage such as `errno`.
pub(crate) trait Work: Send + 'static {
    /// Returns if it did not execute another program; the child then exits.
    fn run(&mut self);
}

/// What a child uses until it has executed or died.
#[derive(Debug)]
pub(in super::super) struct Birth<W: Work> {
    /// `None` only while it is dropped.
    shared: Option<Box<Shared<W>>>,
    stack: Option<Stack>,
}

#[derive(Debug)]
pub(super) struct Shared<W> {
    /// Zeroed by the kernel when the child is out of this memory.
    word: AtomicU32,
    work: UnsafeCell<W>,
}

// SAFETY: the work is the child's alone until the word is zero, and then its owner's; it is Send itself.
unsafe impl<W: Work> Sync for Shared<W> {}

impl<W: Work> Shared<W> {
    /// `work`, and a child to do it.
    pub(super) fn new(work: W) -> Self {
        Self {
            word: AtomicU32::new(1),
            work: UnsafeCell::new(work),
        }
    }

    /// What the kernel zeroes.
    pub(super) fn word(&self) -> *mut u32 {
        self.word.as_ptr()
    }
}

impl<W: Work> Birth<W> {
    pub(super) fn new(shared: Box<Shared<W>>, stack: Stack) -> Self {
        Self {
            shared: Some(shared),
            stack: Some(stack),
        }
    }

    /// The stack, and the work that was done, when the child is out of this memory.
    pub(super) fn end(mut self) -> Option<(Stack, W)> {
        if !self.is_over() {
            return None;
        }
        let (stack, shared) = (self.stack.take()?, self.shared.take()?);
        Some((stack, shared.work.into_inner()))
    }

    /// The same without the stack, which goes.
    pub(in super::super) fn into_work(self) -> Option<W> {
        self.end().map(|(_, work)| work)
    }

    /// Whether the child has executed, or died.
    pub(in super::super) fn is_over(&self) -> bool {
        self.shared
            .as_ref()
            .is_none_or(|shared| shared.word.load(Ordering::Acquire) == 0)
    }

    /// Waits for that, no longer than `until`.
    pub(in super::super) fn wait(&self, until: Instant) -> bool {
        let Some(shared) = &self.shared else {
            return true;
        };
        loop {
            let seen = shared.word.load(Ordering::Acquire);
            if seen == 0 {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let left = rustix::thread::Timespec::try_from(left).ok();
            // The kernel's wake-up is one between processes, hence without PRIVATE. Whatever it answers, the word says.
            match futex::wait(&shared.word, futex::Flags::empty(), seen, left.as_ref()) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                Err(_) => return false,
            }
        }
    }
}

impl<W: Work> Drop for Birth<W> {
    /// What a child may still use is never freed.
    fn drop(&mut self) {
        if !self.is_over() {
            std::mem::forget(self.shared.take());
            std::mem::forget(self.stack.take());
        }
    }
}

/// What the child runs, with a pointer to its [`Shared`].
pub(super) extern "C" fn child_main<W: Work>(shared: *mut c_void) -> ! {
    // SAFETY: `Cloner::start` gives a live Shared<W>, whose work nobody else touches until the word is zero.
    let work = unsafe { &*shared.cast::<Shared<W>>() }.work.get();
    // SAFETY: as above.
    unsafe { &mut *work }.run();
    // What it has written is read when this process is gone: the compiler must not take it for lost.
    std::hint::black_box(work);
    raw::exit(127)
}

//! What was read of stdin and is not yet sent: bounded, between the thread that reads and the loop that sends.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// Held of a terminal. So much may be pasted into a command that does not read before its `~.` is read no more.
pub(super) const TERMINAL_BYTES_MAX: usize = 4 << 20;
/// Held of anything else.
pub(super) const BYTES_MAX: usize = 128 << 10;

/// The end that is filled.
pub(super) struct Filler(Arc<Shared>);

/// The end that is emptied. Dropping it ends the filling.
pub(super) struct Held(Arc<Shared>);

struct Shared {
    max_bytes: usize,
    state: Mutex<State>,
    /// There is room again.
    room: Condvar,
    /// Something was added, or the end.
    more: Notify,
}

#[derive(Default)]
struct State {
    data: BytesMut,
    /// No more will come: the end, or why reading failed.
    end: Option<io::Result<()>>,
    /// Nobody empties it any more.
    is_given_up: bool,
}

/// Both ends of one that holds `max_bytes`, and a piece more.
pub(super) fn held(max_bytes: usize) -> (Filler, Held) {
    let shared = Arc::new(Shared {
        max_bytes,
        state: Mutex::default(),
        room: Condvar::new(),
        more: Notify::new(),
    });
    (Filler(Arc::clone(&shared)), Held(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filler {
    /// Adds `data`, once there is room; `false` if nobody wants any more.
    pub(super) fn add(&self, data: &[u8]) -> bool {
        let is_full =
            |state: &mut State| state.data.len() >= self.0.max_bytes && !state.is_given_up;
        let state = self.0.room.wait_while(self.0.lock(), is_full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.data.extend_from_slice(data);
        self.0.more.notify_one();
        !state.is_given_up
    }

    /// Says that no more will come.
    pub(super) fn end(self, end: io::Result<()>) {
        self.0.lock().end = Some(end);
        self.0.more.notify_one();
    }
}

impl Held {
    /// Takes at most `max_bytes` of what is held; `None` at the end. Cancel-safe.
    pub(super) async fn take(&mut self, max_bytes: usize) -> io::Result<Option<Bytes>> {
        loop {
            {
                let mut state = self.0.lock();
                let count = state.data.len().min(max_bytes);
                if count > 0 {
                    let taken = state.data.split_to(count).freeze();
                    self.0.room.notify_one();
                    return Ok(Some(taken));
                }
                if let Some(end) = state.end.take() {
                    return end.map(|()| None);
                }
            }
            self.0.more.notified().await;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().is_given_up = true;
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn all_that_is_added_comes_out_and_then_the_end() {
        let (filler, mut held) = held(10);
        let adding = thread::spawn(move || {
            for _ in 0..100 {
                assert!(filler.add(b"abcdefg"));
            }
            filler.end(Ok(()));
        });
        let mut all = Vec::new();
        while let Some(data) = held.take(3).await.unwrap() {
            assert!(data.len() <= 3);
            all.extend(data);
        }
        assert_eq!(all, b"abcdefg".repeat(100));
        adding.join().unwrap();
    }

    #[tokio::test]
    async fn a_failure_comes_after_what_was_read_before_it() {
        let (filler, mut held) = held(10);
        filler.add(b"abc");
        filler.end(Err(io::ErrorKind::IsADirectory.into()));
        assert_eq!(held.take(10).await.unwrap().unwrap(), "abc");
        let error = held.take(10).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn it_is_full_until_something_is_taken_or_nobody_takes_any_more() {
        let (filler, held) = held(3);
        assert!(filler.add(b"abc"));
        let waiting = thread::spawn(move || filler.add(b"d"));
        drop(held);
        assert!(!waiting.join().unwrap());
    }
}

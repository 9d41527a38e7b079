//! Lines on their way to stderr. Whoever logs puts a line into a bounded queue and goes on; a thread of its own writes, and
//! is the only one that waits for a reader. What finds the queue full is dropped and counted. A line that comes alone is
//! written at once; of those that follow closely, whoever logs need not wake the thread for each.

use std::{
    collections::VecDeque,
    fmt, io, mem,
    os::fd::BorrowedFd,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use super::journal::Journal;

/// Lines that wait to be written.
pub const LINES: usize = 4096;

/// Bytes of them, in all. As many again may be in the hands of the thread that writes.
pub const BYTES: usize = 1024 * 1024;

/// After it has written, the thread takes what came meanwhile only after so long, or when it is asked to hurry.
const GATHER: Duration = Duration::from_millis(5);

/// Where lines go.
pub(super) enum Destination {
    /// A text.
    Stream(BorrowedFd<'static>),
    /// Each is an entry.
    Journal(Journal),
}

impl Destination {
    fn write(&self, lines: impl Iterator<Item = Vec<u8>>) {
        match self {
            Self::Stream(to) => write_all(*to, &lines.flatten().collect::<Vec<_>>()),
            Self::Journal(journal) => lines.for_each(|line| journal.send(&line)),
        }
    }
}

/// A queue and the thread that empties it. Clones share both.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something for the thread to do.
    due: Condvar,
    /// There are none, and the last one is written.
    emptied: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Since it was last said.
    dropped: u64,
    dropped_in_all: u64,
    thread: Thread,
    /// Somebody waits for what is there to be written, or there is much of it.
    is_hurried: bool,
}

/// What the thread does.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// Waits for a line.
    #[default]
    Idle,
    /// Has lines in hand.
    Writing,
    /// Lets lines gather.
    Gathering,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

impl Queue {
    /// Begins to write to `to`. When lines were dropped and it takes some again, it is sent what `lost` makes of their count.
    pub(super) fn start(
        to: Destination,
        lost: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let shared = Arc::clone(&queue.0);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || shared.write_for_ever(&to, &lost))?;
        Ok(queue)
    }

    /// Takes a line, or drops it.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut waiting = self.0.lock();
        if waiting.lines.len() >= LINES || waiting.bytes + line.len() > BYTES {
            waiting.dropped = waiting.dropped.saturating_add(1);
            waiting.dropped_in_all = waiting.dropped_in_all.saturating_add(1);
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        if waiting.lines.len() == LINES / 2 {
            waiting.is_hurried = true;
        }
        if waiting.thread == Thread::Idle || waiting.is_hurried {
            self.0.due.notify_one();
        }
    }

    /// How many were dropped so far.
    pub(super) fn dropped_in_all(&self) -> u64 {
        self.0.lock().dropped_in_all
    }

    /// Waits until everything is written, for at most `patience`; says whether it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut waiting = self.0.lock();
        while waiting.thread == Thread::Writing || !waiting.lines.is_empty() {
            waiting.is_hurried = true;
            self.0.due.notify_one();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.0.emptied.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, to: &Destination, lost: &dyn Fn(u64) -> Vec<u8>) {
        loop {
            let (lines, dropped) = self.take();
            // They were dropped behind those that were in the queue.
            let lost = (dropped > 0).then(|| lost(dropped));
            to.write(lines.into_iter().chain(lost));
        }
    }

    /// All lines there are, once there are any, and how many were dropped behind them.
    fn take(&self) -> (VecDeque<Vec<u8>>, u64) {
        let mut waiting = self.lock();
        if waiting.thread == Thread::Writing {
            waiting.thread = Thread::Gathering;
            self.emptied.notify_all();
            let gathered = self
                .due
                .wait_timeout_while(waiting, GATHER, |waiting| !waiting.is_hurried);
            waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        while waiting.lines.is_empty() {
            waiting.thread = Thread::Idle;
            waiting.is_hurried = false;
            self.emptied.notify_all();
            let woken = self.due.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        waiting.thread = Thread::Writing;
        waiting.is_hurried = false;
        waiting.bytes = 0;
        let dropped = mem::take(&mut waiting.dropped);
        (mem::take(&mut waiting.lines), dropped)
    }
}

/// Writes as long as somebody reads, however slowly. A reader that has gone loses what is left: nobody is there to be told.
pub(crate) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Whoever started the daemon has made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&to, PollFlags::OUT)], None);
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::fd::AsFd};

    use super::*;

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A queue that writes into a pipe, and the pipe's other end.
    fn queue() -> (Queue, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let writer: &'static io::PipeWriter = Box::leak(Box::new(writer));
        let lost = |dropped| format!("lost {dropped}\n").into_bytes();
        let to = Destination::Stream(writer.as_fd());
        (Queue::start(to, lost).unwrap(), reader)
    }

    #[test]
    fn lines_come_out_in_order() {
        let (queue, mut reader) = queue();
        queue.push(b"one\n".to_vec());
        queue.push(b"two\n".to_vec());
        assert!(queue.flush(PATIENCE));
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"one\ntwo\n");
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_what_is_dropped_is_counted() {
        let (queue, mut reader) = queue();
        // Larger than the pipe, so that the thread is stuck with it.
        let first = 100_000;
        queue.push(vec![b'.'; first]);
        let stuck = || {
            let waiting = queue.0.lock();
            waiting.thread == Thread::Writing && waiting.lines.is_empty()
        };
        while !stuck() {
            thread::yield_now();
        }
        assert_eq!((LINES, BYTES), (4096, 1_048_576));
        let pushed = LINES + 7;
        for _ in 0..pushed {
            queue.push(b"x\n".to_vec());
        }
        assert!(!queue.flush(Duration::ZERO));
        assert_eq!(queue.0.lock().lines.len(), LINES);
        let expected = first + LINES * 2 + "lost 7\n".len();
        let mut bytes = vec![0; expected];
        reader.read_exact(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"x\nlost 7\n"));
        assert_eq!(queue.dropped_in_all(), 7);
        assert!(queue.flush(PATIENCE));
    }

    #[test]
    fn lines_that_follow_closely_wake_nobody_and_come_out_all_the_same() {
        let (queue, mut reader) = queue();
        let gathering = || queue.0.lock().thread == Thread::Gathering;
        let mut bytes = [0; 2];
        // The thread may be late, and idle again before it is seen to gather.
        let met = (0..1000).any(|_| {
            queue.push(b"a\n".to_vec());
            reader.read_exact(&mut bytes).unwrap();
            let until = Instant::now() + GATHER;
            while !gathering() && Instant::now() < until {
                thread::yield_now();
            }
            gathering()
        });
        assert!(met);
        queue.push(b"b\n".to_vec());
        reader.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"b\n");
        assert!(queue.flush(PATIENCE));
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let (queue, _reader) = queue();
        queue.push(vec![b'.'; BYTES]);
        let full = || queue.0.lock().thread == Thread::Writing;
        while !full() {
            thread::yield_now();
        }
        queue.push(vec![b'.'; BYTES - 1]);
        queue.push(vec![b'.'; 1]);
        queue.push(vec![b'.'; 1]);
        let waiting = queue.0.lock();
        assert_eq!((waiting.bytes, waiting.dropped), (BYTES, 1));
    }
}

//! Lines on their way to the audit log's file. What wants to be told puts a line into a bounded queue; a thread of its own
//! writes. There are three rooms, so that none of them can be filled by what is meant for another: a denied peer keeps no
//! command's line out. What finds its room full is dropped and counted.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::oneshot;

use super::{
    denials::Denials,
    line::{AuditLine, Happening},
};

/// Whose room a line takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Commands that start, and their ends.
    Commands,
    /// Calls that are allowed, or come to nothing.
    Calls,
    /// Denials.
    Denials,
}

/// Lines that wait in each room. As many again may be in the hands of the thread.
pub const ROOM_LINES: [usize; 3] = [8192, 4096, 1024];

/// Bytes of them.
pub const ROOM_BYTES: [usize; 3] = [16 * 1024 * 1024, 4 * 1024 * 1024, 1024 * 1024];

/// After it has written, the thread takes lines that nobody waits for only after so long: of those that follow closely, not
/// each wakes it.
const GATHER: Duration = Duration::from_millis(5);

/// A line that did not get into the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct NotWritten(pub String);

/// A line, and who waits for it to be written.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: Vec<u8>,
    pub(super) written: Option<oneshot::Sender<Told>>,
}

/// Whether a line is written, or why it is not.
pub(super) type Told = Result<(), NotWritten>;

/// The queue. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something for the thread to do.
    due: Condvar,
    /// All is written.
    emptied: Condvar,
    /// Lines that were dropped, ever.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Lines and bytes of each room.
    taken: [(usize, usize); 3],
    /// Not told yet.
    lost: u64,
    denials: Denials,
    thread: Thread,
    /// Somebody waits for a line that is there, or there is much else to do.
    is_hurried: bool,
    reopen: bool,
    /// Nothing comes any more.
    is_over: bool,
    /// Why lines cannot be written for now.
    trouble: Option<NotWritten>,
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

/// What the thread is to do.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) entries: VecDeque<Entry>,
    pub(super) reopen: bool,
}

impl Queue {
    /// Takes a line, or drops it; `false`: it is dropped.
    pub(super) fn push(&self, room: Room, entry: Entry) -> bool {
        let mut waiting = self.lock();
        let is_taken = waiting.push(room, entry);
        let wakes = waiting.thread == Thread::Idle || waiting.is_hurried;
        // Whoever is woken takes it next.
        drop(waiting);
        if wakes {
            self.0.due.notify_one();
        }
        if !is_taken {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }

    /// How many lines were dropped so far.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Takes the line of a denial of `caller`, if it is one that is written. It is made only then.
    pub(super) fn push_denial(&self, caller: &str, line: impl FnOnce() -> Vec<u8>) {
        if !self.lock().denials.count(caller, Instant::now()) {
            return;
        }
        let entry = Entry {
            line: line(),
            written: None,
        };
        self.push(Room::Denials, entry);
    }

    /// Why lines cannot be written for now.
    pub(super) fn trouble(&self) -> Option<NotWritten> {
        self.lock().trouble.clone()
    }

    /// Lines cannot be written, for the reason `why`; `None`: they can. Says whether that is news.
    pub(super) fn set_trouble(&self, why: Option<NotWritten>) -> bool {
        let mut waiting = self.lock();
        let is_news = waiting.trouble.is_some() != why.is_some();
        waiting.trouble = why;
        is_news
    }

    /// The file is to be opened anew.
    pub(super) fn reopen(&self) {
        let mut waiting = self.lock();
        waiting.reopen = true;
        waiting.is_hurried = true;
        self.0.due.notify_one();
    }

    /// Nothing comes any more: waits until all is written, for at most `patience`; says whether it is.
    pub(super) fn finish(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut waiting = self.lock();
        waiting.is_over = true;
        // Here, as the thread that writes may rest, and find out about the end only later.
        waiting.tell_unwritten();
        while waiting.thread == Thread::Writing || !waiting.entries.is_empty() {
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

    /// What there is to do, once there is something.
    pub(super) fn take(&self) -> Task {
        let mut waiting = self.lock();
        if waiting.thread == Thread::Writing {
            waiting.thread = Thread::Gathering;
            self.0.emptied.notify_all();
            let gathered = self
                .0
                .due
                .wait_timeout_while(waiting, GATHER, |waiting| !waiting.is_hurried);
            waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        loop {
            waiting.tell_unwritten();
            if !waiting.entries.is_empty() || waiting.reopen {
                waiting.thread = Thread::Writing;
                waiting.is_hurried = false;
                waiting.taken = [(0, 0); 3];
                return Task {
                    entries: mem::take(&mut waiting.entries),
                    reopen: mem::take(&mut waiting.reopen),
                };
            }
            waiting.thread = Thread::Idle;
            waiting.is_hurried = false;
            self.0.emptied.notify_all();
            let over = waiting.denials.next_over();
            let wait = over.map(|over| over.saturating_duration_since(Instant::now()));
            waiting = match wait {
                None => self
                    .0
                    .due
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    let woken = self.0.due.wait_timeout(waiting, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Waits for so long, or until the file is to be opened anew; says whether it is.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut waiting = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if waiting.reopen || left.is_zero() {
                return mem::take(&mut waiting.reopen);
            }
            let woken = self.0.due.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, room: Room, entry: Entry) -> bool {
        let index = room as usize;
        let (lines, bytes) = self.taken[index];
        let bytes = bytes + entry.line.len();
        if lines >= ROOM_LINES[index] || bytes > ROOM_BYTES[index] {
            self.lost = self.lost.saturating_add(1);
            return false;
        }
        self.taken[index] = (lines + 1, bytes);
        self.is_hurried |= entry.written.is_some() || lines + 1 == ROOM_LINES[index] / 2;
        self.entries.push_back(entry);
        true
    }

    /// Adds lines on what has none of its own: denials beyond the first ones, and lines that were dropped.
    fn tell_unwritten(&mut self) {
        let now = SystemTime::now();
        for unwritten in self.denials.over(Instant::now(), self.is_over) {
            let line = AuditLine {
                caller: Some(&unwritten.caller),
                count: Some(unwritten.denials),
                ..AuditLine::new(now, Happening::Denials)
            };
            self.tell(&line);
        }
        if self.lost > 0 {
            let line = AuditLine {
                count: Some(mem::take(&mut self.lost)),
                ..AuditLine::new(now, Happening::Lost)
            };
            self.tell(&line);
        }
    }

    /// In nobody's room: there are as many as there are callers that are counted.
    fn tell(&mut self, line: &AuditLine<'_>) {
        self.entries.push_back(Entry {
            line: line.encode(),
            written: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{super::denials::WRITTEN, *};

    fn entry(bytes: usize) -> Entry {
        Entry {
            line: vec![b'x'; bytes],
            written: None,
        }
    }

    #[test]
    fn the_end_waits_for_what_is_only_counted() {
        let queue = Queue::default();
        for _ in 0..=WRITTEN {
            queue.push_denial("unix:0", || vec![b'x']);
        }
        let idle = || queue.lock().thread = Thread::Idle;
        assert_eq!(
            queue.take().entries.len(),
            usize::try_from(WRITTEN).unwrap()
        );
        idle();
        assert!(!queue.finish(Duration::ZERO), "a line is left");
        assert_eq!(queue.take().entries.len(), 1);
        idle();
        assert!(queue.finish(Duration::ZERO));
    }

    fn lines(queue: &Queue) -> Vec<String> {
        let entries = queue.take().entries.into_iter();
        entries
            .map(|entry| String::from_utf8(entry.line).unwrap())
            .collect()
    }

    #[test]
    fn a_room_that_is_full_leaves_the_others_theirs_and_what_is_dropped_is_told() {
        let queue = Queue::default();
        for room in [Room::Denials, Room::Calls, Room::Commands] {
            let limit = ROOM_LINES[room as usize];
            let pushed = (0..limit + 3).filter(|_| queue.push(room, entry(1)));
            assert_eq!(pushed.count(), limit, "{room:?}");
        }
        assert_eq!(queue.lost(), 9);
        let all = lines(&queue);
        assert_eq!(all.len(), ROOM_LINES.iter().sum::<usize>() + 1);
        let last = all.last().unwrap();
        assert!(
            last.contains("\"event\":\"lost\"") && last.contains("\"count\":9"),
            "{last}"
        );
        // What was taken has left its room.
        assert!(queue.push(Room::Denials, entry(1)));
        assert_eq!(lines(&queue), ["x"]);
        assert_eq!(queue.lost(), 9, "those that were told of count on");
    }

    #[test]
    fn rooms_are_bounded_by_their_bytes_too() {
        let queue = Queue::default();
        for room in [Room::Commands, Room::Calls, Room::Denials] {
            let limit = ROOM_BYTES[room as usize];
            assert!(queue.push(room, entry(limit - 1)));
            assert!(!queue.push(room, entry(2)));
            assert!(queue.push(room, entry(1)));
            assert!(!queue.push(room, entry(1)));
        }
    }

    #[test]
    fn a_denied_caller_gets_ten_lines_and_one_for_the_others() {
        let queue = Queue::default();
        let mut made = 0;
        for _ in 0..100_000 {
            queue.push_denial("a", || {
                made += 1;
                b"denied".to_vec()
            });
        }
        assert_eq!(made, WRITTEN);
        assert_eq!(lines(&queue), vec!["denied"; 10]);
        // At the end, though the minute is not over.
        assert!(!queue.finish(Duration::ZERO));
        let told = lines(&queue);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("\"count\":99990"), "{told:?}");
    }

    #[test]
    fn a_pause_ends_when_the_file_is_to_be_opened_anew() {
        let queue = Queue::default();
        assert!(!queue.pause(Duration::ZERO));
        queue.reopen();
        assert!(queue.pause(Duration::from_mins(10)));
        assert!(!queue.pause(Duration::ZERO));
    }

    #[test]
    fn a_line_that_somebody_waits_for_is_written_without_delay() {
        let queue = Queue::default();
        queue.push(Room::Calls, entry(1));
        queue.take();
        queue.push(Room::Calls, entry(1));
        assert!(!queue.lock().is_hurried);
        let (written, _) = oneshot::channel();
        let waited_for = Entry {
            written: Some(written),
            ..entry(1)
        };
        queue.push(Room::Commands, waited_for);
        assert!(queue.lock().is_hurried);
        assert_eq!(queue.take().entries.len(), 2);
        assert!(!queue.lock().is_hurried);
        // As is what fills half of a room.
        for _ in 1..ROOM_LINES[Room::Denials as usize] / 2 {
            queue.push(Room::Denials, entry(1));
        }
        assert!(!queue.lock().is_hurried);
        queue.push(Room::Denials, entry(1));
        assert!(queue.lock().is_hurried);
    }

    #[test]
    fn trouble_is_news_once() {
        let queue = Queue::default();
        let why = || Some(NotWritten("full".to_owned()));
        assert!(!queue.set_trouble(None));
        assert!(queue.set_trouble(why()));
        assert!(!queue.set_trouble(why()));
        assert_eq!(queue.trouble(), why());
        assert!(queue.set_trouble(None));
        assert_eq!(queue.trouble(), None);
    }
}

//! Where an execution's output goes: into numbered events, no faster than whoever takes them, or whatever else implements
//! [`Outlet`]. Times are since the spawn.

use std::{
    io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    counters::Counters,
    event::{Event, EventKind, Exit},
    output::{COALESCE_INTERVAL, Chunker, Due, OutputStream},
};

/// Stdin that is told of at once when it has been accepted; less waits for [`COALESCE_INTERVAL`].
const TOLD_BYTES: u64 = 64 * 1024;

/// What has become of the way to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It is as it was.
    Same,
    /// The reader has no room: output has to wait.
    Blocked,
    /// It has room again.
    Unblocked,
}

/// Where the output of one execution goes.
pub trait Outlet {
    /// How long output may be left in its pipe before it is read. A command that is over by then is read once, at its end, in
    /// place of being interrupted by each of its writes.
    const PATIENCE: Duration;

    /// Whether a read of `stream` has somewhere to go.
    fn takes(&self, stream: OutputStream) -> bool;

    /// Takes one read: `read` appends to the buffer that it is given, as much as its capacity takes, and returns how much;
    /// 0 is the end.
    fn read(
        &mut self,
        stream: OutputStream,
        read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize>;

    /// Nothing more comes of `stream`.
    fn end(&mut self, stream: OutputStream);

    /// The command runs as `pid`.
    fn started(&mut self, now: Duration, pid: i32);

    /// When there is something to pass on; `ending` says that nothing more is to be waited for.
    fn deadline(&self, now: Duration, ending: bool) -> Option<Duration>;

    /// Passes on what is due.
    fn pass_on(&mut self, now: Duration, ending: bool) -> Flow;

    /// Passes on what is left and the exit, as far as there is room; `true`: all of it. `before_last` is called before the
    /// last of it leaves.
    fn deliver(&mut self, now: Duration, exit: Exit, before_last: impl FnOnce()) -> bool;

    /// The reader has gone: output goes nowhere from now on.
    fn abandon(&mut self) -> Flow;
}

/// What takes an execution's events.
pub trait EventSink {
    /// Whether it is told of accepted stdin, too, by items without an event.
    fn tells_accepted(&self) -> bool;

    /// Whether it takes another item at once.
    fn has_room(&self) -> bool;

    /// Takes an item, for which it has room.
    fn send(&mut self, item: Item);

    /// Whether there is memory for outputs of [`MAX_OUTPUT_BYTES`](super::output::MAX_OUTPUT_BYTES). Asked when it has taken one
    /// of [`FIRST_OUTPUT_BYTES`](super::output::FIRST_OUTPUT_BYTES), and not again once there is.
    fn takes_large(&mut self) -> bool;
}

/// One thing that an [`EventSink`] takes.
#[derive(Debug)]
pub struct Item {
    /// What happened; `None` if only the position has grown.
    pub event: Option<Event>,
    /// Position up to which stdin has been accepted.
    pub stdin_accepted: u64,
}

/// Reads become chunks, chunks become events, as fast as the sink takes them.
#[derive(Debug)]
pub struct EventOutlet<S> {
    /// `None` once the reader has gone.
    sink: Option<S>,
    chunker: Chunker,
    counters: Arc<Counters>,
    /// The sink has no room for what is due.
    blocked: bool,
    told: Told,
}

/// The position of stdin that the sink was told last.
#[derive(Debug, Default)]
struct Told {
    accepted: u64,
    at: Duration,
}

impl<S: EventSink> EventOutlet<S> {
    /// Events for `sink`, numbered by `counters`.
    pub fn new(sink: S, counters: Arc<Counters>) -> Self {
        Self {
            sink: Some(sink),
            chunker: Chunker::default(),
            counters,
            blocked: false,
            told: Told::default(),
        }
    }

    /// Where the events go, unless the reader has gone.
    pub fn sink(&self) -> Option<&S> {
        self.sink.as_ref()
    }

    /// The same, to be changed.
    pub fn sink_mut(&mut self) -> Option<&mut S> {
        self.sink.as_mut()
    }

    /// Whether something waits for the sink to have room, which has to be told by [`Ready::Room`](super::engine::Ready::Room)
    /// even if it has some by now.
    pub fn is_held_up(&self) -> bool {
        self.blocked || (self.accepted_due().is_some() && !self.has_room())
    }

    fn has_room(&self) -> bool {
        self.sink.as_ref().is_none_or(EventSink::has_room)
    }

    fn unblock(&mut self) -> Flow {
        if std::mem::take(&mut self.blocked) {
            Flow::Unblocked
        } else {
            Flow::Same
        }
    }

    /// Sends an item, with an event or without one, for which there is room.
    fn send(&mut self, now: Duration, kind: Option<EventKind>) {
        let Some(sink) = &mut self.sink else {
            return;
        };
        let event = kind.map(|kind| Event {
            sequence: self.counters.next_sequence(),
            time: SystemTime::now(),
            kind,
        });
        let stdin_accepted = self.counters.stdin_accepted();
        self.told = Told {
            accepted: stdin_accepted,
            at: now,
        };
        sink.send(Item {
            event,
            stdin_accepted,
        });
    }

    /// A reader that keeps up with full chunks of `bytes` gets larger ones.
    fn grow_behind(&mut self, bytes: usize) {
        let keeps_up = self.has_room() && self.chunker.may_grow(bytes);
        if keeps_up && self.sink.as_mut().is_some_and(EventSink::takes_large) {
            self.chunker.grow();
        }
    }

    /// When an item for accepted stdin alone is due.
    fn accepted_due(&self) -> Option<Duration> {
        self.sink.as_ref().filter(|sink| sink.tells_accepted())?;
        let accepted = self.counters.stdin_accepted();
        match accepted.saturating_sub(self.told.accepted) {
            0 => None,
            TOLD_BYTES.. => Some(self.told.at),
            _ => Some(self.told.at + COALESCE_INTERVAL),
        }
    }
}

impl<S: EventSink> Outlet for EventOutlet<S> {
    /// Whoever reads along is sent output as it comes.
    const PATIENCE: Duration = Duration::ZERO;

    fn takes(&self, stream: OutputStream) -> bool {
        self.chunker.has_room(stream)
    }

    fn read(
        &mut self,
        stream: OutputStream,
        read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(buffer) = self.chunker.buffer_for(stream) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let bytes = read(buffer)?;
        if self.sink.is_none() {
            buffer.clear();
        } else if bytes > 0 {
            self.chunker.filled(stream);
        }
        Ok(bytes)
    }

    fn end(&mut self, stream: OutputStream) {
        self.chunker.end(stream);
    }

    fn started(&mut self, now: Duration, pid: i32) {
        self.send(now, Some(EventKind::Started { pid }));
    }

    fn deadline(&self, now: Duration, ending: bool) -> Option<Duration> {
        self.sink.as_ref()?;
        let chunk = match self.chunker.due(now, ending) {
            Due::At(at) => Some(at),
            // It has become due since it was last looked at, unless it is the reader that holds it up.
            Due::Now if !self.blocked => Some(now),
            Due::Now | Due::Never => None,
        };
        let accepted = self.accepted_due().filter(|_| self.has_room());
        [chunk, accepted].into_iter().flatten().min()
    }

    fn pass_on(&mut self, now: Duration, ending: bool) -> Flow {
        if self.sink.is_none() {
            return Flow::Same;
        }
        while self.chunker.due(now, ending) == Due::Now {
            if !self.has_room() {
                let was_blocked = std::mem::replace(&mut self.blocked, true);
                return if was_blocked {
                    Flow::Same
                } else {
                    Flow::Blocked
                };
            }
            if let Some(chunk) = self.chunker.take(now) {
                let bytes = chunk.data.len();
                self.send(now, Some(EventKind::Output(chunk)));
                self.grow_behind(bytes);
            }
        }
        if self.accepted_due().is_some_and(|due| due <= now) && self.has_room() {
            self.send(now, None);
        }
        self.unblock()
    }

    fn deliver(&mut self, now: Duration, exit: Exit, before_last: impl FnOnce()) -> bool {
        loop {
            if !self.has_room() {
                self.blocked = true;
                return false;
            }
            match self.chunker.take(now) {
                Some(chunk) => self.send(now, Some(EventKind::Output(chunk))),
                None if self.chunker.due(now, true) == Due::Now => {}
                None => {
                    before_last();
                    self.send(now, Some(EventKind::Exited(exit)));
                    return true;
                }
            }
        }
    }

    fn abandon(&mut self) -> Flow {
        self.sink = None;
        self.chunker = Chunker::default();
        self.counters.abandon();
        self.unblock()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{super::outcome::Outcome, *};

    const LATER: Duration = COALESCE_INTERVAL;

    /// Holds one item.
    #[derive(Default)]
    struct One(VecDeque<Item>);

    impl EventSink for One {
        fn tells_accepted(&self) -> bool {
            true
        }

        fn has_room(&self) -> bool {
            self.0.is_empty()
        }

        fn send(&mut self, item: Item) {
            assert!(self.has_room(), "it was sent more than it takes");
            self.0.push_back(item);
        }

        fn takes_large(&mut self) -> bool {
            true
        }
    }

    impl EventOutlet<One> {
        fn receive(&mut self) -> Option<Item> {
            self.sink.as_mut().unwrap().0.pop_front()
        }

        fn write(&mut self, data: &[u8]) {
            let write = |buffer: &mut Vec<u8>| {
                buffer.extend_from_slice(data);
                Ok(data.len())
            };
            self.read(OutputStream::Stdout, write).unwrap();
        }
    }

    /// An outlet whose sink is full.
    fn full() -> (EventOutlet<One>, Arc<Counters>) {
        let counters = Arc::<Counters>::default();
        let mut outlet = EventOutlet::new(One::default(), Arc::clone(&counters));
        outlet.started(Duration::ZERO, 1);
        (outlet, counters)
    }

    #[test]
    fn a_reader_without_room_blocks_once_and_unblocks_once() {
        let (mut outlet, _) = full();
        outlet.write(b"hi");
        assert_eq!(outlet.pass_on(LATER, false), Flow::Blocked);
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        outlet.receive().unwrap();
        assert!(outlet.is_held_up());
        assert_eq!(outlet.pass_on(LATER, false), Flow::Unblocked);
        assert!(!outlet.is_held_up());
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        let item = outlet.receive().unwrap();
        assert!(matches!(item.event.unwrap().kind, EventKind::Output(chunk) if chunk.data == "hi"));
    }

    /// A host asks later than the outlet looked.
    #[test]
    fn what_becomes_due_between_two_looks_is_passed_on_at_once() {
        let (mut outlet, _) = full();
        outlet.receive().unwrap();
        outlet.write(b"one");
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        outlet.receive().unwrap();
        outlet.write(b"two");
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        assert_eq!(outlet.deadline(LATER, false), Some(2 * LATER));
        assert_eq!(outlet.deadline(3 * LATER, false), Some(3 * LATER));
        assert_eq!(outlet.pass_on(3 * LATER, false), Flow::Same);
        outlet.receive().unwrap();
        assert_eq!(outlet.deadline(4 * LATER, false), None);
    }

    #[test]
    fn accepted_stdin_is_told_when_there_is_room_for_it() {
        let (mut outlet, counters) = full();
        counters.accept(7);
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        assert_eq!(outlet.deadline(LATER, false), None);
        assert!(outlet.is_held_up());
        outlet.receive().unwrap();
        assert!(!outlet.is_held_up());
        assert_eq!(outlet.deadline(LATER, false), Some(LATER));
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        let item = outlet.receive().unwrap();
        assert!(item.event.is_none());
        assert_eq!(item.stdin_accepted, 7);
        // Once.
        assert_eq!(outlet.pass_on(2 * LATER, false), Flow::Same);
        assert!(outlet.receive().is_none());
    }

    #[test]
    fn much_accepted_stdin_is_told_at_once() {
        let (mut outlet, counters) = full();
        outlet.receive().unwrap();
        counters.accept(TOLD_BYTES - 1);
        assert_eq!(outlet.deadline(Duration::ZERO, false), Some(LATER));
        assert_eq!(outlet.pass_on(Duration::ZERO, false), Flow::Same);
        assert!(outlet.receive().is_none());
        counters.accept(TOLD_BYTES);
        assert_eq!(outlet.deadline(Duration::ZERO, false), Some(Duration::ZERO));
        assert_eq!(outlet.pass_on(Duration::ZERO, false), Flow::Same);
        assert_eq!(outlet.receive().unwrap().stdin_accepted, TOLD_BYTES);
    }

    #[test]
    fn a_reader_that_has_gone_holds_nothing_up() {
        let (mut outlet, counters) = full();
        outlet.write(b"hi");
        assert_eq!(outlet.pass_on(LATER, false), Flow::Blocked);
        assert_eq!(outlet.abandon(), Flow::Unblocked);
        assert!(counters.is_abandoned());
        assert!(outlet.takes(OutputStream::Stderr));
        assert!(!outlet.is_held_up());
        outlet.write(&[b'x'; 9]);
        assert!(outlet.takes(OutputStream::Stderr));
        assert_eq!(outlet.pass_on(2 * LATER, false), Flow::Same);
    }

    #[test]
    fn the_exit_leaves_behind_all_output_and_as_fast_as_there_is_room() {
        let (mut outlet, _) = full();
        outlet.write(b"tail");
        let exit = Exit {
            outcome: Outcome::LOST,
            wall_time: LATER,
            usage: crate::process::Usage::default(),
            oom_killed: false,
            output_left_open: false,
        };
        let mut last = false;
        assert!(!outlet.deliver(LATER, exit, || last = true));
        outlet.receive().unwrap();
        assert!(!outlet.deliver(LATER, exit, || last = true));
        let item = outlet.receive().unwrap();
        assert!(
            matches!(item.event.unwrap().kind, EventKind::Output(chunk) if chunk.data == "tail")
        );
        assert!(outlet.deliver(LATER, exit, || last = true));
        assert!(last);
        let item = outlet.receive().unwrap();
        assert!(matches!(item.event.unwrap().kind, EventKind::Exited(_)));
    }
}

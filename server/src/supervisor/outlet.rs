//! A command's output on its way to its caller: reads become chunks, chunks become events, no faster than the caller takes
//! them; or all of it goes into one answer. Times are since the spawn.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    event::{Event, Exit, Kind},
    mailbox::Progress,
    output::{COALESCE_INTERVAL, Chunker, Due, Stream},
    reader::Reader,
    sink::{Item, Sink},
};

/// Stdin that is told of at once when it has been accepted; less waits for [`COALESCE_INTERVAL`].
const TOLD_BYTES: u64 = 64 * 1024;

/// What a command's output goes through.
#[derive(Debug)]
pub(super) struct Outlet {
    sink: Sink,
    chunker: Chunker,
    progress: Arc<Progress>,
    /// The caller has no room for what is due.
    blocked: bool,
    told: Told,
}

/// The position of stdin that the caller was told last.
#[derive(Debug, Default)]
struct Told {
    accepted: u64,
    at: Duration,
}

/// What has become of the way to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It is as it was.
    Same,
    /// The caller has no room: output has to wait.
    Blocked,
    /// It has room again.
    Unblocked,
}

impl Outlet {
    pub(super) fn new(sink: Sink, progress: Arc<Progress>) -> Self {
        Self {
            sink,
            chunker: Chunker::default(),
            progress,
            blocked: false,
            told: Told::default(),
        }
    }

    /// Whether all output goes into one answer, so that nobody waits for it before the end.
    pub(super) fn is_collecting(&self) -> bool {
        matches!(self.sink, Sink::Collect { .. })
    }

    /// Returns when the caller has gone.
    pub(super) async fn gone(&mut self) {
        self.sink.gone().await;
    }

    /// The caller has gone: output goes nowhere from now on.
    pub(super) fn abandon(&mut self) -> Flow {
        self.sink = Sink::Discard;
        self.progress.abandoned.store(true, Ordering::Relaxed);
        self.unblock()
    }

    /// Returns when there is room for what had none; never if nothing is held up.
    pub(super) fn room(&self) -> impl Future<Output = ()> + use<> {
        let held_up = self.blocked || (self.accepted_due().is_some() && !self.has_room());
        let items = match &self.sink {
            Sink::Stream { items, .. } if held_up => Some(items.clone()),
            _ => None,
        };
        async move {
            match items {
                // The permit is given back: the event is made when it is sent, by one task alone.
                Some(items) => drop(items.reserve().await),
                None => std::future::pending().await,
            }
        }
    }

    /// Whether a read of `stream` has somewhere to go.
    pub(super) fn takes(&self, stream: Stream) -> bool {
        match self.sink {
            Sink::Stream { .. } => self.chunker.has_room(stream),
            Sink::Collect { .. } | Sink::Discard => true,
        }
    }

    /// Takes one read; 0 is the end. `now` is for [`Reader::read`].
    pub(super) fn read(&mut self, reader: &mut Reader, now: bool) -> io::Result<usize> {
        let stream = reader.stream;
        let bytes = match &mut self.sink {
            Sink::Stream { .. } => {
                let Some(buffer) = self.chunker.buffer_for(stream) else {
                    return Err(io::ErrorKind::WouldBlock.into());
                };
                let bytes = reader.read(buffer, now)?;
                if bytes > 0 {
                    self.chunker.filled(stream);
                }
                bytes
            }
            Sink::Collect { collected, .. } => {
                reader.read_to(now, |data| collected.push(stream, data))?
            }
            Sink::Discard => reader.read_to(now, |_| {})?,
        };
        let total = match stream {
            Stream::Stdout | Stream::Terminal => &self.progress.stdout_bytes,
            Stream::Stderr => &self.progress.stderr_bytes,
        };
        total.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    /// Nothing more comes of `stream`.
    pub(super) fn end(&mut self, stream: Stream) {
        self.chunker.end(stream);
    }

    /// The command runs as `pid`.
    pub(super) fn started(&mut self, now: Duration, pid: i32) {
        self.send(now, Some(Kind::Started { pid }));
    }

    /// When there is something to pass on; `ending` says that nothing more is to be waited for.
    pub(super) fn deadline(&self, now: Duration, ending: bool) -> Option<Duration> {
        if !self.is_streaming() {
            return None;
        }
        let chunk = match self.chunker.due(now, ending) {
            Due::At(at) => Some(at),
            // What is due already is held up by the caller alone.
            Due::Now | Due::Never => None,
        };
        let accepted = self.accepted_due().filter(|_| self.has_room());
        [chunk, accepted].into_iter().flatten().min()
    }

    /// Sends what is due.
    pub(super) fn pass_on(&mut self, now: Duration, ending: bool) -> Flow {
        if !self.is_streaming() {
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
                self.send(now, Some(Kind::Output(chunk)));
            }
        }
        if self.accepted_due().is_some_and(|due| due <= now) && self.has_room() {
            self.send(now, None);
        }
        self.unblock()
    }

    /// Sends what is left, then the exit, as fast as the caller takes it. `slot` is given back before the last: whoever
    /// has that may come back at once.
    pub(super) async fn deliver(mut self, now: Duration, exit: Exit, slot: OwnedSemaphorePermit) {
        while let Sink::Stream { items, .. } = &self.sink {
            let items = items.clone();
            let Ok(permit) = items.reserve().await else {
                return;
            };
            match self.chunker.take(now) {
                Some(chunk) => permit.send(self.item(Some(Kind::Output(chunk)))),
                None if self.chunker.due(now, true) == Due::Now => {}
                None => {
                    drop(slot);
                    return permit.send(self.item(Some(Kind::Exited(exit))));
                }
            }
        }
        drop(slot);
        if let Sink::Collect { collected, answer } = self.sink {
            let _ = answer.send((*collected, exit));
        }
    }

    fn is_streaming(&self) -> bool {
        matches!(self.sink, Sink::Stream { .. })
    }

    /// Whether an item can be sent.
    fn has_room(&self) -> bool {
        matches!(&self.sink, Sink::Stream { items, .. } if items.capacity() > 0)
    }

    fn unblock(&mut self) -> Flow {
        if std::mem::take(&mut self.blocked) {
            Flow::Unblocked
        } else {
            Flow::Same
        }
    }

    /// Sends an item, with an event or without one, for which there is room.
    fn send(&mut self, now: Duration, kind: Option<Kind>) {
        let Sink::Stream { items, .. } = &self.sink else {
            return;
        };
        let item = self.item(kind);
        self.told = Told {
            accepted: item.stdin_accepted,
            at: now,
        };
        // Refused only when the caller has gone, which is noticed on its own.
        let _ = items.try_send(item);
    }

    fn item(&self, kind: Option<Kind>) -> Item {
        let event = kind.map(|kind| Event {
            sequence: self.progress.last_sequence.fetch_add(1, Ordering::Relaxed) + 1,
            time: SystemTime::now(),
            kind,
        });
        Item {
            event,
            stdin_accepted: self.accepted(),
        }
    }

    fn accepted(&self) -> u64 {
        self.progress.stdin_accepted.load(Ordering::Relaxed)
    }

    /// When an item for accepted stdin alone is due.
    fn accepted_due(&self) -> Option<Duration> {
        let tells = matches!(
            &self.sink,
            Sink::Stream {
                tells_accepted: true,
                ..
            }
        );
        let untold = self.accepted().saturating_sub(self.told.accepted);
        match untold {
            0 => None,
            TOLD_BYTES.. => Some(self.told.at),
            _ => Some(self.told.at + COALESCE_INTERVAL),
        }
        .filter(|_| tells)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const LATER: Duration = COALESCE_INTERVAL;

    /// An outlet to a stream that holds one item, which it does.
    fn full() -> (Outlet, mpsc::Receiver<Item>, Arc<Progress>) {
        let (items, received) = mpsc::channel(1);
        let progress = Arc::<Progress>::default();
        let sink = Sink::Stream {
            items,
            tells_accepted: true,
        };
        let mut outlet = Outlet::new(sink, Arc::clone(&progress));
        outlet.started(Duration::ZERO, 1);
        (outlet, received, progress)
    }

    fn write(outlet: &mut Outlet, data: &[u8]) {
        let buffer = outlet.chunker.buffer_for(Stream::Stdout).unwrap();
        buffer.extend_from_slice(data);
        outlet.chunker.filled(Stream::Stdout);
    }

    async fn is_ready(wait: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = wait => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn a_caller_without_room_blocks_once_and_unblocks_once() {
        let (mut outlet, mut received, _) = full();
        write(&mut outlet, b"hi");
        assert_eq!(outlet.pass_on(LATER, false), Flow::Blocked);
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        assert!(!is_ready(outlet.room()).await);
        received.recv().await.unwrap();
        assert!(is_ready(outlet.room()).await);
        assert_eq!(outlet.pass_on(LATER, false), Flow::Unblocked);
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        let item = received.recv().await.unwrap();
        assert!(matches!(item.event.unwrap().kind, Kind::Output(chunk) if chunk.data == "hi"));
    }

    #[tokio::test]
    async fn accepted_stdin_is_told_when_there_is_room_for_it() {
        let (mut outlet, mut received, progress) = full();
        progress.stdin_accepted.store(7, Ordering::Relaxed);
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        assert_eq!(outlet.deadline(LATER, false), None);
        let room = outlet.room();
        received.recv().await.unwrap();
        assert!(is_ready(room).await);
        assert_eq!(outlet.deadline(LATER, false), Some(LATER));
        assert_eq!(outlet.pass_on(LATER, false), Flow::Same);
        let item = received.recv().await.unwrap();
        assert!(item.event.is_none());
        assert_eq!(item.stdin_accepted, 7);
        // Once.
        assert_eq!(outlet.pass_on(2 * LATER, false), Flow::Same);
        assert!(received.try_recv().is_err());
    }

    #[tokio::test]
    async fn much_accepted_stdin_is_told_at_once() {
        let (mut outlet, mut received, progress) = full();
        received.recv().await.unwrap();
        progress
            .stdin_accepted
            .store(TOLD_BYTES - 1, Ordering::Relaxed);
        assert_eq!(outlet.deadline(Duration::ZERO, false), Some(LATER));
        assert_eq!(outlet.pass_on(Duration::ZERO, false), Flow::Same);
        assert!(received.try_recv().is_err());
        progress.stdin_accepted.store(TOLD_BYTES, Ordering::Relaxed);
        assert_eq!(outlet.deadline(Duration::ZERO, false), Some(Duration::ZERO));
        assert_eq!(outlet.pass_on(Duration::ZERO, false), Flow::Same);
        let item = received.recv().await.unwrap();
        assert_eq!(item.stdin_accepted, TOLD_BYTES);
    }

    #[tokio::test]
    async fn a_caller_that_has_gone_holds_nothing_up() {
        let (mut outlet, received, progress) = full();
        write(&mut outlet, b"hi");
        assert_eq!(outlet.pass_on(LATER, false), Flow::Blocked);
        drop(received);
        outlet.gone().await;
        assert_eq!(outlet.abandon(), Flow::Unblocked);
        assert!(progress.abandoned.load(Ordering::Relaxed));
        assert!(outlet.takes(Stream::Stderr));
        assert!(!is_ready(outlet.room()).await);
    }
}

//! Where output goes here: into events, or collected for one answer.

use std::{cell::Cell, io, time::Duration};

use remex_supervisor::lifecycle::{
    event::{Event, EventKind, Exit},
    outlet::{EventSink, Flow, Item, Outlet},
    output::{MAX_OUTPUT_BYTES, OutputStream},
};

/// A reader of events, which has room for them or not.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) events: Vec<Event>,
    pub(crate) has_room: Cell<bool>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            has_room: Cell::new(true),
        }
    }
}

impl EventSink for Reader {
    fn tells_accepted(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        self.has_room.get()
    }

    fn send(&mut self, item: Item) {
        self.events.extend(item.event);
    }

    fn takes_large(&mut self) -> bool {
        true
    }
}

/// stdout alone, in one piece, read at the command's end if that comes soon enough.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) stdout: Vec<u8>,
}

impl Outlet for Answer {
    /// So long that a command which ends by itself has by then.
    const PATIENCE: Duration = Duration::from_secs(50);

    fn takes(&self, _: OutputStream) -> bool {
        true
    }

    fn read(
        &mut self,
        stream: OutputStream,
        read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut buffer = Vec::with_capacity(MAX_OUTPUT_BYTES);
        let bytes = read(&mut buffer)?;
        if stream == OutputStream::Stdout {
            self.stdout.append(&mut buffer);
        }
        Ok(bytes)
    }

    fn end(&mut self, _: OutputStream) {}

    fn started(&mut self, _: Duration, _: i32) {}

    fn deadline(&self, _: Duration, _: bool) -> Option<Duration> {
        None
    }

    fn pass_on(&mut self, _: Duration, _: bool) -> Flow {
        Flow::Same
    }

    fn deliver(&mut self, _: Duration, _: Exit, before_last: impl FnOnce()) -> bool {
        before_last();
        true
    }

    fn abandon(&mut self) -> Flow {
        Flow::Same
    }
}

/// What a reader was told, checked against the rules that hold for every execution.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) terminal: Vec<u8>,
    pub(crate) exit: Option<Exit>,
}

impl Told {
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut told = Self::default();
        for (event, sequence) in events.iter().zip(1..) {
            assert_eq!(event.sequence, sequence);
            assert_eq!(told.exit, None, "something follows the exit");
            match &event.kind {
                EventKind::Started { pid } => assert!(sequence == 1 && *pid > 1),
                EventKind::Output(chunk) => {
                    let stream = match chunk.stream {
                        OutputStream::Stdout => &mut told.stdout,
                        OutputStream::Stderr => &mut told.stderr,
                        OutputStream::Terminal => &mut told.terminal,
                    };
                    assert_eq!(chunk.offset, stream.len() as u64);
                    assert!((1..=MAX_OUTPUT_BYTES).contains(&chunk.data.len()));
                    stream.extend_from_slice(&chunk.data);
                }
                EventKind::Exited(exit) => told.exit = Some(*exit),
            }
        }
        told
    }

    /// stdout, or what is on the terminal.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&[&self.stdout[..], &self.terminal].concat()).into_owned()
    }
}

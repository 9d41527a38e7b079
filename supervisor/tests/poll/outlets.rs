//! Where output goes here: into events, or collected for one answer.

use std::{cell::Cell, io, time::Duration};

use remex_supervisor::lifecycle::{
    event::{Event, Exit},
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

//! A caller who reads an execution's events along.

use std::{future::pending, sync::Arc};

use remex_supervisor::lifecycle::outlet::{EventOutlet, EventSink, Item};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::outlet::AttachedOutlet;

/// Items that wait between an engine and the stream that sends them; each holds at most one output.
pub const LIVE_ITEMS: usize = 2;

/// Executions whose outputs are read in large pieces, at once; those of the others come in small ones, which holds less memory
/// and costs more time.
pub const LARGE_EXECUTIONS: usize = 16;

/// The room for [`LARGE_EXECUTIONS`]. Clones share it.
#[derive(Debug, Clone)]
pub struct LargeRoom(Arc<Semaphore>);

impl Default for LargeRoom {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(LARGE_EXECUTIONS)))
    }
}

/// The way to a response stream.
#[derive(Debug)]
pub struct Live {
    items: mpsc::Sender<Item>,
    tells_accepted: bool,
    room: LargeRoom,
    /// Held to the end of the execution.
    large: Option<OwnedSemaphorePermit>,
}

impl Live {
    /// Both ends; `tells_accepted` says whether items come for accepted stdin alone, too.
    pub fn new(tells_accepted: bool, room: LargeRoom) -> (Self, mpsc::Receiver<Item>) {
        let (items, received) = mpsc::channel(LIVE_ITEMS);
        let live = Self {
            items,
            tells_accepted,
            room,
            large: None,
        };
        (live, received)
    }
}

impl EventSink for Live {
    fn tells_accepted(&self) -> bool {
        self.tells_accepted
    }

    fn has_room(&self) -> bool {
        self.items.capacity() > 0
    }

    fn send(&mut self, item: Item) {
        // Refused only when the caller has gone, which is noticed on its own.
        let _ = self.items.try_send(item);
    }

    fn takes_large(&mut self) -> bool {
        if self.large.is_none() {
            self.large = Arc::clone(&self.room.0).try_acquire_owned().ok();
        }
        self.large.is_some()
    }
}

impl AttachedOutlet for EventOutlet<Live> {
    async fn gone(&self) {
        match self.sink() {
            Some(live) => live.items.closed().await,
            None => pending().await,
        }
    }

    async fn room(&self) {
        match self.sink() {
            // The permit is given back: an item is made when it is sent, by one task alone.
            Some(live) if self.is_held_up() => drop(live.items.reserve().await),
            _ => pending().await,
        }
    }
}

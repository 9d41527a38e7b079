//! A caller who reads an execution's events along.

use std::future::pending;

use remex_supervisor::lifecycle::outlet::{EventOutlet, EventSink, Item};
use tokio::sync::mpsc;

use super::outlet::AttachedOutlet;

/// Items that wait between an engine and the stream that sends them; each holds at most one output.
pub const LIVE_ITEMS: usize = 2;

/// The way to a response stream.
#[derive(Debug)]
pub struct Live {
    items: mpsc::Sender<Item>,
    tells_accepted: bool,
}

impl Live {
    /// Both ends; `tells_accepted` says whether items come for accepted stdin alone, too.
    pub fn new(tells_accepted: bool) -> (Self, mpsc::Receiver<Item>) {
        let (items, received) = mpsc::channel(LIVE_ITEMS);
        let live = Self {
            items,
            tells_accepted,
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

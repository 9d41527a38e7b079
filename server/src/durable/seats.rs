//! Who reads a durable execution along: which of them are callers, and how far they have come. What of it the supervisor
//! has to be told is decided here; a task tells it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use remex_supervisor::{
    durable::{OUTPUT_WINDOW, message::Attached},
    lifecycle::event::Event,
};
use tokio::sync::{Notify, mpsc};

/// The readers of one execution. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Seats(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The supervisor waits to hear how far callers have come.
    is_watched: AtomicBool,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeMap<u64, Taken>,
    next: u64,
    /// Since it was last told: a caller came where there was none, the last one went.
    came: bool,
    went: bool,
    /// Output that no journal keeps, from before a caller who has a place reads along. The supervisor sends no more than
    /// its window before that one is told of it.
    early: VecDeque<Event>,
}

#[derive(Debug)]
struct Taken {
    is_observer: bool,
    sent: Arc<AtomicU64>,
    /// Where output goes that no journal keeps.
    live: Option<mpsc::Sender<Event>>,
}

/// A reader's place, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    number: u64,
    sent: Arc<AtomicU64>,
}

impl Seats {
    /// Takes a place for a reader who has the events up to `after`, and gets output that no journal keeps through `live`.
    pub fn take(&self, is_observer: bool, after: u64, live: Option<mpsc::Sender<Event>>) -> Seat {
        let sent = Arc::new(AtomicU64::new(after));
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        if !is_observer && state.callers() == 0 {
            state.came = true;
        }
        if let (Some(live), false) = (&live, is_observer) {
            for event in &state.early {
                let _ = live.try_send(event.clone());
            }
        }
        state.taken.insert(
            number,
            Taken {
                is_observer,
                sent: Arc::clone(&sent),
                live,
            },
        );
        drop(state);
        self.0.changed.notify_one();
        Seat {
            seats: self.clone(),
            number,
            sent,
        }
    }

    /// How many callers there are.
    pub fn callers(&self) -> u32 {
        self.lock().callers()
    }

    /// Whether the supervisor waits to hear how far callers have come.
    pub fn watch(&self, is_watched: bool) {
        self.0.is_watched.store(is_watched, Ordering::Relaxed);
    }

    /// Passes output on that no journal keeps. Who has no room for it finds a gap there.
    pub fn pass_on(&self, event: &Event) {
        let mut state = self.lock();
        for live in state.taken.values().filter_map(|one| one.live.as_ref()) {
            let _ = live.try_send(event.clone());
        }
        if state.is_awaited() && state.early.len() < OUTPUT_WINDOW {
            state.early.push_back(event.clone());
        }
    }

    /// Returns when there may be something to tell.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Who is there: told in this order, the supervisor sees every going of the last caller and every coming of a first one.
    /// Of those that came and went since, one time stands for all.
    pub fn tell(&self) -> Vec<Attached> {
        let mut state = self.lock();
        let now = state.attached();
        let (came, went) = (state.came, state.went);
        (state.came, state.went) = (false, false);
        let with = |callers| Attached { callers, ..now };
        match now.callers {
            0 if came && went => vec![with(1), now],
            0 => vec![now],
            _ if went => vec![with(0), now],
            _ => vec![now],
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a caller has a place who does not read along yet.
    fn is_awaited(&self) -> bool {
        let mut taken = self.taken.values();
        taken.any(|one| !one.is_observer && one.live.is_none())
    }

    fn callers(&self) -> u32 {
        let callers = self.taken.values().filter(|one| !one.is_observer).count();
        u32::try_from(callers).unwrap_or(u32::MAX)
    }

    fn attached(&self) -> Attached {
        let callers = self.callers();
        let observers = u32::try_from(self.taken.len()).unwrap_or(u32::MAX) - callers;
        let sent = self
            .taken
            .values()
            .filter(|one| !one.is_observer)
            .map(|one| one.sent.load(Ordering::Relaxed));
        Attached {
            callers,
            observers,
            sent: sent.min().unwrap_or_default(),
        }
    }
}

impl Seat {
    /// The event `sequence` has been sent.
    pub fn sent(&self, sequence: u64) {
        self.sent.fetch_max(sequence, Ordering::Relaxed);
        if self.seats.0.is_watched.load(Ordering::Relaxed) {
            self.seats.0.changed.notify_one();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.seats.lock();
        let was_caller = state
            .taken
            .remove(&self.number)
            .is_some_and(|taken| !taken.is_observer);
        if was_caller && state.callers() == 0 {
            state.went = true;
        }
        if !state.is_awaited() {
            state.early.clear();
        }
        drop(state);
        self.seats.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seats: &Seats) -> Vec<(u32, u32, u64)> {
        let told = seats.tell().into_iter();
        told.map(|one| (one.callers, one.observers, one.sent))
            .collect()
    }

    #[test]
    fn the_slowest_caller_counts_and_no_observer() {
        let seats = Seats::default();
        let (one, two) = (seats.take(false, 0, None), seats.take(false, 3, None));
        let observer = seats.take(true, 0, None);
        one.sent(7);
        assert_eq!(told(&seats), [(2, 1, 3)]);
        two.sent(9);
        assert_eq!(told(&seats), [(2, 1, 7)]);
        // What was sent stays sent.
        two.sent(1);
        drop(one);
        assert_eq!(told(&seats), [(1, 1, 9)]);
        drop(observer);
        assert_eq!((told(&seats), seats.callers()), (vec![(1, 0, 9)], 1));
    }

    #[test]
    fn no_going_and_no_coming_is_passed_over() {
        let seats = Seats::default();
        let first = seats.take(false, 0, None);
        assert_eq!(told(&seats), [(1, 0, 0)]);
        drop(first);
        let second = seats.take(false, 4, None);
        assert_eq!(told(&seats), [(0, 0, 4), (1, 0, 4)]);
        drop(second);
        assert_eq!(told(&seats), [(0, 0, 0)]);
        for _ in 0..3 {
            drop(seats.take(false, 0, None));
        }
        assert_eq!(told(&seats), [(1, 0, 0), (0, 0, 0)]);
        // An observer's are none.
        drop(seats.take(true, 0, None));
        assert_eq!(told(&seats), [(0, 0, 0)]);
    }
    #[test]
    fn output_waits_for_a_caller_who_is_about_to_read_along() {
        let seats = Seats::default();
        let event = |sequence| Event {
            sequence,
            time: std::time::SystemTime::UNIX_EPOCH,
            kind: remex_supervisor::lifecycle::event::EventKind::Started { pid: 1 },
        };
        let place = seats.take(false, 0, None);
        seats.pass_on(&event(2));
        let (to, mut live) = mpsc::channel(OUTPUT_WINDOW);
        let _seat = seats.take(false, 0, Some(to));
        drop(place);
        seats.pass_on(&event(3));
        for sequence in [2, 3] {
            assert_eq!(live.try_recv().unwrap().sequence, sequence);
        }
        // Who comes later finds a gap.
        let (to, mut later) = mpsc::channel(OUTPUT_WINDOW);
        let _later = seats.take(false, 0, Some(to));
        assert!(later.try_recv().is_err());
    }
}

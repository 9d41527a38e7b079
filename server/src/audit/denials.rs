//! Denials, counted for each caller: the first ones of a minute are written, the others told in one line when it is over.
//! Pure but for the clock that it is given.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Denials of one caller that are written within a [`WINDOW`].
pub const WRITTEN: u64 = 10;

/// For so long a caller's denials are counted together, from its first one on.
pub const WINDOW: Duration = Duration::from_mins(1);

/// Callers that are counted each for itself at once. What others are denied is counted together.
pub const CALLERS: usize = 1024;

/// What those others are called.
pub const OTHERS: &str = "others";

/// The counts.
#[derive(Debug, Default)]
pub struct Denials {
    windows: HashMap<Box<str>, Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    denials: u64,
}

/// What was not written of one caller's denials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// Whose.
    pub caller: Box<str>,
    /// How many.
    pub denials: u64,
}

impl Denials {
    /// Counts one of `caller`, and says whether it is to be written.
    pub fn count(&mut self, caller: &str, now: Instant) -> bool {
        let is_known = self.windows.contains_key(caller) || self.windows.len() < CALLERS;
        let caller = if is_known { caller } else { OTHERS };
        if let Some(window) = self.windows.get_mut(caller) {
            window.denials = window.denials.saturating_add(1);
            return window.denials <= WRITTEN;
        }
        let window = Window {
            since: now,
            denials: 1,
        };
        self.windows.insert(caller.into(), window);
        true
    }

    /// What is to be told of the windows that are over; of all of them, if this is the `end`.
    pub fn over(&mut self, now: Instant, end: bool) -> Vec<Unwritten> {
        let mut over = Vec::new();
        self.windows.retain(|caller, window| {
            let stays = !end && now.saturating_duration_since(window.since) < WINDOW;
            if !stays && window.denials > WRITTEN {
                over.push(Unwritten {
                    caller: caller.clone(),
                    denials: window.denials - WRITTEN,
                });
            }
            stays
        });
        over
    }

    /// When the next window is over; `None`: there is none.
    pub fn next_over(&self) -> Option<Instant> {
        let ends = self.windows.values().map(|window| window.since + WINDOW);
        ends.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_of_a_minute_are_written_and_the_others_counted() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        let written = |denials: &mut Denials, caller, now| {
            (0..25).filter(|_| denials.count(caller, now)).count()
        };
        assert_eq!(written(&mut denials, "a", start), 10);
        assert_eq!(denials.next_over(), Some(start + WINDOW));
        // Each for itself.
        assert_eq!(written(&mut denials, "b", start + WINDOW / 2), 10);
        let almost = start + WINDOW.checked_sub(Duration::from_nanos(1)).unwrap();
        assert_eq!(denials.over(almost, false), []);
        let over = denials.over(start + WINDOW, false);
        let fifteen = |caller: &str| Unwritten {
            caller: caller.into(),
            denials: 15,
        };
        assert_eq!(over, [fifteen("a")]);
        // Then it begins anew.
        assert_eq!(written(&mut denials, "a", start + WINDOW), 10);
        let mut rest = denials.over(start + WINDOW, true);
        rest.sort_by(|one, other| one.caller.cmp(&other.caller));
        assert_eq!(rest, [fifteen("a"), fifteen("b")]);
        assert_eq!(denials.next_over(), None);
    }

    #[test]
    fn of_a_few_nothing_is_told_beside_their_lines() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        for _ in 0..10 {
            assert!(denials.count("a", start));
        }
        assert_eq!(denials.over(start + WINDOW, false), []);
        assert_eq!(denials.next_over(), None);
    }

    #[test]
    fn callers_beyond_the_limit_are_counted_together() {
        let (mut denials, start) = (Denials::default(), Instant::now());
        for caller in 0..CALLERS {
            assert!(denials.count(&caller.to_string(), start));
        }
        let written = (0..100).filter(|more| denials.count(&format!("x{more}"), start));
        assert_eq!(written.count(), 10);
        assert_eq!(denials.windows.len(), CALLERS + 1);
        // Those that were there before are still counted for themselves.
        assert!(denials.count("7", start));
        let over = denials.over(start + WINDOW, false);
        assert_eq!(over.len(), 1);
        assert_eq!((&*over[0].caller, over[0].denials), (OTHERS, 90));
    }
}

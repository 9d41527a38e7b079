//! Who is there of an execution's callers, and what their going means for it. Pure; times are by any clock that only goes
//! forwards.
//!
//! Callers are told of by a server, whose crash or drain is their going too. Whoever only observes is no caller.

use std::time::Duration;

/// What happens when the last caller goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDisconnect {
    /// The execution ends.
    Kill,
    /// It ends unless a caller comes within this time, counted anew each time.
    Grace(Duration),
    /// It runs on.
    Detach,
}

/// The callers of one execution.
#[derive(Debug)]
pub struct Presence {
    policy: OnDisconnect,
    /// Since when nobody is there.
    alone_since: Option<Duration>,
    /// Nobody came in time. Whoever comes now is too late.
    is_over: bool,
}

impl Presence {
    /// An execution that a caller has just asked for, who is there.
    pub fn new(policy: OnDisconnect) -> Self {
        Self {
            policy,
            alone_since: None,
            is_over: false,
        }
    }

    /// There are so many callers at `now`.
    pub fn set_callers(&mut self, callers: u32, now: Duration) {
        if callers > 0 {
            self.alone_since = None;
        } else {
            self.alone_since.get_or_insert(now);
        }
    }

    /// The server has gone, and its callers with it.
    pub fn server_gone(&mut self, now: Duration) {
        self.set_callers(0, now);
    }

    /// When [`Self::is_over`] has to be asked; `None`: not before a caller goes, or never again.
    pub fn deadline(&self) -> Option<Duration> {
        let since = self.alone_since.filter(|_| !self.is_over)?;
        match self.policy {
            OnDisconnect::Kill => Some(since),
            // What is beyond the end of the clock never comes.
            OnDisconnect::Grace(grace) => since.checked_add(grace),
            OnDisconnect::Detach => None,
        }
    }

    /// Whether the execution has to end at `now`, because its callers have gone. Once it has, nobody changes that.
    pub fn is_over(&mut self, now: Duration) -> bool {
        self.is_over |= self.deadline().is_some_and(|at| at <= now);
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn with_kill_the_last_callers_going_is_the_end() {
        let mut presence = Presence::new(OnDisconnect::Kill);
        assert_eq!(presence.deadline(), None);
        assert!(!presence.is_over(s(100)));
        presence.set_callers(2, s(100));
        presence.set_callers(1, s(101));
        assert!(!presence.is_over(s(102)));
        presence.set_callers(0, s(103));
        assert_eq!(presence.deadline(), Some(s(103)));
        assert!(presence.is_over(s(103)));
    }

    #[test]
    fn grace_runs_while_nobody_is_there_and_begins_anew_each_time() {
        let mut presence = Presence::new(OnDisconnect::Grace(s(60)));
        presence.set_callers(0, s(10));
        assert_eq!(presence.deadline(), Some(s(70)));
        // Told again, it goes on.
        presence.set_callers(0, s(50));
        assert_eq!(presence.deadline(), Some(s(70)));
        assert!(!presence.is_over(s(69)));
        presence.set_callers(1, s(69));
        assert_eq!(presence.deadline(), None);
        assert!(!presence.is_over(s(1000)));
        presence.set_callers(0, s(1000));
        assert_eq!(presence.deadline(), Some(s(1060)));
        assert!(!presence.is_over(s(1059)));
        assert!(presence.is_over(s(1060)));
    }

    #[test]
    fn a_server_that_goes_takes_its_callers_with_it() {
        let mut presence = Presence::new(OnDisconnect::Grace(s(60)));
        presence.set_callers(3, s(1));
        presence.server_gone(s(10));
        assert_eq!(presence.deadline(), Some(s(70)));
        // Another one comes, whose callers come later: the time runs on until they do.
        presence.server_gone(s(20));
        assert_eq!(presence.deadline(), Some(s(70)));
        presence.set_callers(1, s(30));
        assert_eq!(presence.deadline(), None);
    }

    #[test]
    fn whoever_comes_after_the_end_changes_nothing() {
        let mut presence = Presence::new(OnDisconnect::Grace(Duration::ZERO));
        presence.set_callers(0, s(5));
        assert!(presence.is_over(s(5)));
        presence.set_callers(1, s(5));
        assert!(presence.is_over(s(6)));
        assert_eq!(presence.deadline(), None);
    }

    #[test]
    fn detached_it_runs_on_for_ever() {
        let mut presence = Presence::new(OnDisconnect::Detach);
        presence.set_callers(0, s(5));
        assert_eq!(presence.deadline(), None);
        assert!(!presence.is_over(Duration::MAX));
    }

    #[test]
    fn a_grace_beyond_the_end_of_the_clock_is_no_overflow() {
        let mut presence = Presence::new(OnDisconnect::Grace(Duration::MAX));
        presence.set_callers(0, s(5));
        assert_eq!(presence.deadline(), None);
        assert!(!presence.is_over(Duration::MAX));
    }
}

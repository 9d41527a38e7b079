//! What to do when: the life of one execution as a pure state machine.
//!
//! Facts go in with the time since the spawn, actions come out; nothing here waits, reads a clock or touches a process.
//! A life is: the leader runs; if it has to be ended, TERM, after `kill_after` KILL, until its whole tree is gone; when it
//! has ended by itself, its output is drained; last comes [`Action::Finish`], once.

use std::time::Duration;

use super::{
    action::Action,
    drain::{Drain, OpenStreams},
    ending::Ending,
    fact::Fact,
    outcome::{Cause, ExitReason, Outcome},
    output::STREAMS,
};
use crate::process::ExitStatus;

/// When the server shuts down, a reader has this long to take what a command wrote before its end. What it does not take is
/// cut, and the exit is not told.
pub const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// Signal numbers run from 1 to this.
pub const MAX_SIGNAL: i32 = 64;

const KILL: i32 = libc::SIGKILL;
const TERM: i32 = libc::SIGTERM;

/// The actions of one fact, in order.
pub type Actions = Vec<Action>;

/// Where one execution is in its life.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Life {
    timeout: Option<Duration>,
    kill_after: Duration,
    /// Output is drained to its end, however long others hold it open.
    until_end: bool,
    exit: Option<ExitStatus>,
    ending: Option<Ending>,
    sent: u64,
    streams: OpenStreams,
    blocked: bool,
    drain: Option<Drain>,
    /// The server shuts down.
    shutting_down: bool,
    /// When what the reader has not taken is cut; known once nothing but the reader is waited for.
    cut_at: Option<Duration>,
    finished: bool,
}

impl Life {
    /// An execution that has just been spawned. `timeout` counts from the spawn.
    pub fn new(timeout: Option<Duration>, kill_after: Duration) -> Self {
        Self {
            timeout,
            kill_after,
            until_end: false,
            exit: None,
            ending: None,
            sent: 0,
            streams: OpenStreams::default(),
            blocked: false,
            drain: None,
            shutting_down: false,
            cut_at: None,
            finished: false,
        }
    }

    /// Drains output to its end: the execution is not over before, so that a timeout, a disconnect and a shutdown end its
    /// tree meanwhile.
    #[must_use]
    pub fn until_end(mut self, until_end: bool) -> Self {
        self.until_end = until_end;
        self
    }

    /// Takes in what happened at `now` and says what to do.
    pub fn on_fact(&mut self, now: Duration, fact: Fact) -> Actions {
        let mut actions = Actions::new();
        if self.finished {
            return actions;
        }
        match fact {
            Fact::Output { stream, bytes } => self.output(now, stream, bytes),
            Fact::OutputEnded { stream } => self.streams.end(stream),
            Fact::Blocked => self.block(now),
            Fact::Unblocked => self.unblock(now),
            Fact::Exited { status, unread } => self.exited(now, status, unread, &mut actions),
            Fact::Signal(number) => self.signal(now, number, &mut actions),
            Fact::End(cause) => self.end(now, cause, &mut actions),
            Fact::Lost => self.lost(now, &mut actions),
            Fact::TreeGone { unread } => self.tree_gone(now, unread),
            Fact::TreeLives { held } => self.tree_lives(now, held),
            Fact::Deadline => self.deadline_passed(now, &mut actions),
        }
        self.settle(now, &mut actions);
        actions
    }

    /// When [`Fact::Deadline`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        if self.finished {
            return None;
        }
        let has_exited = self.exit.is_some();
        let ending = self.ending.as_ref();
        let ending = ending.and_then(|ending| ending.deadline(has_exited));
        let timeout = self.timeout.filter(|_| self.is_timed());
        // A tree that is not gone yet, or output that has ended, leaves the drain nothing to decide.
        let is_draining = self.streams.are_open() && self.is_tree_settled();
        let drain = self.drain.as_ref().filter(|_| is_draining);
        let drain = drain.and_then(|drain| self.drained_at(drain));
        let cut = self.cut_at.filter(|_| is_draining);
        [ending, timeout, drain, cut].into_iter().flatten().min()
    }

    /// How many bytes of the stream at an index may be read: beyond what the leader had written at its end there is a bound.
    pub fn readable(&self, stream: usize) -> usize {
        match &self.drain {
            Some(_) if !self.drains_to_the_end() => self.streams.readable(stream),
            _ => usize::MAX,
        }
    }

    /// Whether the leader has ended or is being ended: output is then sent as it comes.
    pub fn is_ending(&self) -> bool {
        self.exit.is_some() || self.ending.is_some()
    }

    /// Whether it is being ended, by a caller's KILL or by the server.
    pub fn is_being_ended(&self) -> bool {
        self.ending.is_some()
    }

    fn output(&mut self, now: Duration, stream: usize, bytes: usize) {
        if let Some(drain) = &mut self.drain {
            self.streams.read(stream, bytes);
            drain.heard(now);
        }
    }

    fn block(&mut self, now: Duration) {
        self.blocked = true;
        if let Some(drain) = &mut self.drain {
            drain.stop(now);
        }
    }

    fn unblock(&mut self, now: Duration) {
        self.blocked = false;
        if let Some(drain) = &mut self.drain {
            drain.start(now);
        }
    }

    fn exited(
        &mut self,
        now: Duration,
        status: ExitStatus,
        unread: [usize; STREAMS],
        actions: &mut Actions,
    ) {
        if self.exit.is_some() {
            return;
        }
        self.exit = Some(status);
        self.streams.owe(unread);
        let mut drain = Drain::default();
        if !self.blocked {
            drain.start(now);
        }
        self.drain = Some(drain);
        if let Some(ending) = &mut self.ending {
            ending.look_later(now);
            actions.push(Action::LookAtTree);
        }
    }

    fn signal(&mut self, now: Duration, number: i32, actions: &mut Actions) {
        if !(1..=MAX_SIGNAL).contains(&number) {
            return;
        }
        if self.exit.is_none() {
            self.sent |= 1 << (number - 1);
        }
        match number {
            KILL => self.kill(now, actions),
            libc::SIGSTOP | libc::SIGCONT => actions.push(Action::SignalTree(number)),
            _ => actions.push(Action::SignalGroup(number)),
        }
    }

    /// Kills the tree, unless that has begun.
    fn kill(&mut self, now: Duration, actions: &mut Actions) {
        let is_first = match &mut self.ending {
            Some(ending) => ending.kill(now),
            none => {
                *none = Some(Ending::by_kill(now));
                true
            }
        };
        if is_first {
            actions.push(Action::KillTree);
        }
    }

    fn end(&mut self, now: Duration, cause: Cause, actions: &mut Actions) {
        self.shutting_down |= cause == Cause::Shutdown;
        if self.ending.is_some() {
            return;
        }
        if self.exit.is_some() && !self.until_end {
            // It ended by itself: what it left in the background runs on. What it wrote is delivered, to whoever is there.
            if let Some(drain) = &mut self.drain {
                drain.hurry();
            }
            if cause == Cause::Disconnect {
                self.streams.owe_nothing();
            }
            return;
        }
        self.ending = Some(Ending::by_term(cause, now, self.kill_after));
        // A stopped process acts on TERM only when it is continued.
        actions.extend([Action::SignalTree(TERM), Action::SignalTree(libc::SIGCONT)]);
    }

    /// What cannot be followed any more is not left running.
    fn lost(&mut self, now: Duration, actions: &mut Actions) {
        self.kill(now, actions);
        if let Some(ending) = &mut self.ending {
            ending.give_up();
        }
    }

    fn tree_gone(&mut self, now: Duration, unread: [usize; STREAMS]) {
        if let (Some(ending), Some(_)) = (&mut self.ending, &self.exit) {
            ending.gone();
            self.streams.owe(unread);
            if let Some(drain) = self.drain.as_mut().filter(|_| self.until_end) {
                drain.restart(now);
            }
        }
    }

    fn tree_lives(&mut self, now: Duration, held: bool) {
        if let Some(ending) = &mut self.ending {
            ending.lives(now, held);
        }
    }

    fn deadline_passed(&mut self, now: Duration, actions: &mut Actions) {
        if self.is_timed() {
            if self.timeout.is_some_and(|timeout| timeout <= now) {
                self.end(now, Cause::Timeout, actions);
            }
            return;
        }
        let has_exited = self.exit.is_some();
        if let Some(ending) = &mut self.ending {
            actions.extend_from_slice(ending.deadline_passed(now, has_exited));
        }
    }

    /// Whether the timeout is still to be minded.
    fn is_timed(&self) -> bool {
        self.ending.is_none() && (self.exit.is_none() || self.until_end)
    }

    /// Finishes if there is nothing left to wait for.
    fn settle(&mut self, now: Duration, actions: &mut Actions) {
        if !self.is_tree_settled() {
            return;
        }
        let unkillable = self.ending.as_ref().is_some_and(Ending::is_given_up);
        if self.exit.is_none() && !unkillable {
            return;
        }
        let mut output_cut = false;
        if self.streams.are_open() {
            if !self.is_drained(now) {
                output_cut = self.is_cut(now);
                if !output_cut {
                    return;
                }
            }
            actions.push(Action::CloseOutput);
        }
        self.finished = true;
        actions.push(Action::Finish(Outcome {
            status: self.exit,
            reason: self.reason(),
            unkillable,
            output_cut,
        }));
    }

    /// Whether output is waited for to its end, without a clock.
    fn drains_to_the_end(&self) -> bool {
        self.until_end && self.ending.is_none() && !self.shutting_down
    }

    /// When the drain is over by its clock.
    fn drained_at(&self, drain: &Drain) -> Option<Duration> {
        // What is owed is there to be read, so its end needs no clock.
        (!self.streams.owe_any() && !self.drains_to_the_end())
            .then(|| drain.deadline())
            .flatten()
    }

    fn is_drained(&self, now: Duration) -> bool {
        let Some(drain) = &self.drain else {
            return true;
        };
        let by_clock = self.drained_at(drain).is_some_and(|at| at <= now);
        by_clock || (!self.drains_to_the_end() && self.streams.are_exhausted())
    }

    /// Whether a shutdown cuts what the reader has not taken by `now`. Its time begins when nothing else is waited for.
    fn is_cut(&mut self, now: Duration) -> bool {
        self.shutting_down && *self.cut_at.get_or_insert(now + SHUTDOWN_PATIENCE) <= now
    }

    /// Whether nothing in the tree is waited for: it is left alone, or gone, or given up.
    fn is_tree_settled(&self) -> bool {
        self.ending.as_ref().is_none_or(Ending::is_over)
    }

    fn reason(&self) -> ExitReason {
        let cause = self.ending.as_ref().and_then(Ending::cause);
        match (cause, self.exit) {
            (Some(cause), _) => ExitReason::Ended(cause),
            (None, Some(ExitStatus::Signal { number, .. })) if self.was_sent(number) => {
                ExitReason::Signal
            }
            (None, Some(_)) => ExitReason::Own,
            (None, None) => ExitReason::Lost,
        }
    }

    fn was_sent(&self, number: i32) -> bool {
        (1..=MAX_SIGNAL).contains(&number) && self.sent & (1 << (number - 1)) != 0
    }
}

#[cfg(test)]
mod tests;

//! What to do when: the life of one execution as a pure state machine.
//!
//! Facts go in with the time since the spawn, actions come out; nothing here waits, reads a clock or touches a process.
//! A life is: the leader runs; if it has to be ended, TERM, after `kill_after` KILL, until its whole tree is gone; when it
//! has ended by itself, its output is drained; last comes [`Action::Finish`], once.

use std::time::Duration;

use super::{
    drain::{Drain, OpenStreams},
    output::STREAMS,
};
use crate::process::ExitStatus;

/// How often a tree that is being ended is looked at.
pub const TREE_POLL: Duration = Duration::from_millis(5);

/// A tree that the kernel holds (D state) is waited for this long after its KILL; then it is reported, not awaited.
pub const KILL_BOUND: Duration = Duration::from_millis(900);

/// One that it does not hold is killed again and again for this long: on a busy machine a sweep may take its time.
pub const KILL_LIMIT: Duration = Duration::from_secs(30);

/// When the server shuts down, a reader has this long to take what a command wrote before its end. What it does not take is
/// cut, and the exit is not told.
pub const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

/// Signal numbers run from 1 to this.
pub const MAX_SIGNAL: i32 = 64;

const KILL: i32 = libc::SIGKILL;
const TERM: i32 = libc::SIGTERM;

/// Why an execution is ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its time is up.
    Timeout,
    /// Its last caller has gone.
    Disconnect,
    /// The server shuts down.
    Shutdown,
}

/// Why an execution has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// By itself.
    Own,
    /// The server ended it.
    Ended(Cause),
    /// Its leader died of a signal that a caller had sent.
    Signal,
    /// The kernel did not let go of it.
    Lost,
}

/// How an execution has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The leader's end; `None` if nobody saw it.
    pub status: Option<ExitStatus>,
    /// Why.
    pub reason: ExitReason,
    /// Something of the tree was still there after its KILL.
    pub unkillable: bool,
    /// Output that the leader had written is missing: a shutdown cut it.
    pub output_cut: bool,
}

impl Outcome {
    /// Nobody saw how it ended.
    pub const LOST: Self = Self {
        status: None,
        reason: ExitReason::Lost,
        unkillable: false,
        output_cut: false,
    };
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The command wrote something, which was read.
    Output {
        /// Where, as an index.
        stream: usize,
        /// How much.
        bytes: usize,
    },
    /// One of its streams has ended: nobody holds it open any more, or there is none.
    OutputEnded {
        /// Which, as an index.
        stream: usize,
    },
    /// The reader has no room: output cannot be read.
    Blocked,
    /// It has room again.
    Unblocked,
    /// The leader has ended.
    Exited {
        /// How.
        status: ExitStatus,
        /// Bytes of each stream that it, or others, had written by then and that were not read yet.
        unread: [usize; STREAMS],
    },
    /// A caller sends a signal, 1 to [`MAX_SIGNAL`].
    Signal(i32),
    /// The execution has to end.
    End(Cause),
    /// The kernel does not tell how the leader ends: its end is not to be waited for.
    Lost,
    /// Nothing in the tree lives any more: the answer to [`Action::LookAtTree`].
    TreeGone {
        /// Bytes of each stream that it had written by then and that were not read yet.
        unread: [usize; STREAMS],
    },
    /// Something does: the other answer.
    TreeLives {
        /// All of it is held by the kernel, so that no signal reaches it.
        held: bool,
    },
    /// The time of [`Life::deadline`] has come.
    Deadline,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send a signal to the leader's process group, on a terminal to the foreground group.
    SignalGroup(i32),
    /// Send a signal to the whole tree.
    SignalTree(i32),
    /// Kill the whole tree.
    KillTree,
    /// Say [`Fact::TreeGone`] if nothing in the tree lives, else [`Fact::TreeLives`].
    LookAtTree,
    /// Close the read ends; a terminal is hung up. No output comes after it.
    CloseOutput,
    /// Reap the leader and report. Nothing comes after it.
    Finish(Outcome),
}

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

/// The tree is being ended; from here it has to be gone before anything is reported.
#[derive(Debug)]
struct Ending {
    /// `None`: a caller's KILL.
    cause: Option<Cause>,
    stage: Stage,
    next_look: Duration,
    /// Since when every look has found nothing that a signal reaches.
    held_since: Option<Duration>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Terminating { kill_at: Duration },
    Killing { since: Duration },
    Gone { unkillable: bool },
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
        let ending = self.ending.as_ref().and_then(|ending| match ending.stage {
            // A tree can only be gone when its leader is.
            Stage::Terminating { kill_at } if self.exit.is_none() => Some(kill_at),
            Stage::Terminating { .. } | Stage::Killing { .. } => Some(ending.next_look),
            Stage::Gone { .. } => None,
        });
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
            ending.next_look = now + TREE_POLL;
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

    /// A caller's KILL, or the end of a TERM's patience.
    fn kill(&mut self, now: Duration, actions: &mut Actions) {
        let stage = Stage::Killing { since: now };
        let next_look = now + TREE_POLL;
        match &mut self.ending {
            Some(ending) if matches!(ending.stage, Stage::Terminating { .. }) => {
                ending.stage = stage;
                ending.next_look = next_look;
            }
            Some(_) => return,
            None => {
                self.ending = Some(Ending {
                    cause: None,
                    stage,
                    next_look,
                    held_since: None,
                });
            }
        }
        actions.push(Action::KillTree);
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
        self.ending = Some(Ending {
            cause: Some(cause),
            stage: Stage::Terminating {
                kill_at: now + self.kill_after,
            },
            next_look: now,
            held_since: None,
        });
        // A stopped process acts on TERM only when it is continued.
        actions.extend([Action::SignalTree(TERM), Action::SignalTree(libc::SIGCONT)]);
    }

    /// What cannot be followed any more is not left running.
    fn lost(&mut self, now: Duration, actions: &mut Actions) {
        self.kill(now, actions);
        if let Some(ending) = &mut self.ending {
            ending.stage = Stage::Gone { unkillable: true };
        }
    }

    fn tree_gone(&mut self, now: Duration, unread: [usize; STREAMS]) {
        if let (Some(ending), Some(_)) = (&mut self.ending, &self.exit) {
            ending.stage = Stage::Gone { unkillable: false };
            self.streams.owe(unread);
            if let Some(drain) = self.drain.as_mut().filter(|_| self.until_end) {
                drain.restart(now);
            }
        }
    }

    /// The next look counts from the end of this one, which may have taken long.
    fn tree_lives(&mut self, now: Duration, held: bool) {
        if let Some(ending) = &mut self.ending {
            ending.held_since = held.then(|| ending.held_since.unwrap_or(now));
            ending.next_look = now + TREE_POLL;
        }
    }

    fn deadline_passed(&mut self, now: Duration, actions: &mut Actions) {
        if self.is_timed() {
            if self.timeout.is_some_and(|timeout| timeout <= now) {
                self.end(now, Cause::Timeout, actions);
            }
            return;
        }
        let exited = self.exit.is_some();
        let Some(ending) = &mut self.ending else {
            return;
        };
        match ending.stage {
            Stage::Terminating { kill_at } if kill_at <= now => self.kill(now, actions),
            Stage::Terminating { .. } if exited && ending.next_look <= now => {
                ending.next_look = now + TREE_POLL;
                actions.push(Action::LookAtTree);
            }
            Stage::Killing { since } if ending.is_hopeless(since, now) => {
                ending.stage = Stage::Gone { unkillable: true };
            }
            Stage::Killing { .. } if ending.next_look <= now => {
                ending.next_look = now + TREE_POLL;
                actions.extend([Action::KillTree, Action::LookAtTree]);
            }
            _ => {}
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
            self.streams.close();
            actions.push(Action::CloseOutput);
        }
        self.finished = true;
        self.cut_at = None;
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
        self.ending
            .as_ref()
            .is_none_or(|ending| matches!(ending.stage, Stage::Gone { .. }))
    }

    fn reason(&self) -> ExitReason {
        let cause = self.ending.as_ref().and_then(|ending| ending.cause);
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

impl Ending {
    /// Whether the tree, killed since then, is not to be waited for.
    fn is_hopeless(&self, since: Duration, now: Duration) -> bool {
        let is_held = self.held_since.is_some_and(|held| held + KILL_BOUND <= now);
        is_held || since + KILL_LIMIT <= now
    }

    fn is_given_up(&self) -> bool {
        self.stage == Stage::Gone { unkillable: true }
    }
}

#[cfg(test)]
mod tests;

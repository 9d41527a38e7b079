//! What to do when: the life of one execution as a pure state machine.
//!
//! Events go in with the time since the spawn, actions come out; nothing here waits, reads a clock or touches a process.
//! A life is: the leader runs; if it has to be ended, TERM, after `kill_after` KILL, until its whole tree is gone; when it
//! has ended by itself, its output is drained; last comes [`Action::Finish`], once.

use std::time::Duration;

use crate::process::Status;

/// After the leader's end, others that hold its output open may be silent for this long.
pub const DRAIN_QUIET: Duration = Duration::from_millis(100);

/// They are waited for this long in all, not counting the time in which the reader holds the output up.
pub const DRAIN_BOUND: Duration = Duration::from_secs(1);

/// How often a tree that is being ended is looked at.
pub const TREE_POLL: Duration = Duration::from_millis(5);

/// A tree that the kernel holds (D state) is waited for this long after its KILL; then it is reported, not awaited.
pub const KILL_BOUND: Duration = Duration::from_millis(900);

/// One that it does not hold is killed again and again for this long: on a busy machine a sweep may take its time.
pub const KILL_LIMIT: Duration = Duration::from_secs(30);

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
pub enum Reason {
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
    pub status: Option<Status>,
    /// Why.
    pub reason: Reason,
    /// Something of the tree was still there after its KILL.
    pub unkillable: bool,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The command wrote something, which was read.
    Output {
        /// How much.
        bytes: usize,
    },
    /// Its output has ended: nobody holds it open any more.
    OutputEnded,
    /// The reader has no room: output cannot be read.
    Blocked,
    /// It has room again.
    Unblocked,
    /// The leader has ended.
    Exited {
        /// How.
        status: Status,
        /// Bytes that it, or others, had written by then and that were not read yet.
        unread: usize,
    },
    /// A caller sends a signal, 1 to [`MAX_SIGNAL`].
    Signal(i32),
    /// The execution has to end.
    End(Cause),
    /// The kernel does not tell how the leader ends: its end is not to be waited for.
    Lost,
    /// Nothing in the tree lives any more: the answer to [`Action::LookAtTree`].
    TreeGone,
    /// Something does: the other answer.
    TreeLives {
        /// All of it is held by the kernel, so that no signal reaches it.
        held: bool,
    },
    /// The time of [`State::deadline`] has come.
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
    /// Say [`Event::TreeGone`] if nothing in the tree lives, else [`Event::TreeLives`].
    LookAtTree,
    /// Close the read ends; a terminal is hung up. No output comes after it.
    CloseOutput,
    /// Reap the leader and report. Nothing comes after it.
    Finish(Outcome),
}

/// The actions of one event, in order.
pub type Actions = Vec<Action>;

/// Where one execution is in its life.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct State {
    timeout: Option<Duration>,
    kill_after: Duration,
    /// Output is drained to its end, however long others hold it open.
    until_end: bool,
    exit: Option<Status>,
    ending: Option<Ending>,
    sent: u64,
    output_open: bool,
    blocked: bool,
    drain: Option<Drain>,
    finished: bool,
}

/// The tree is being ended; from here it has to be gone before anything is reported.
#[derive(Debug)]
struct Ending {
    /// `None`: a caller's KILL.
    cause: Option<Cause>,
    stage: Stage,
    next_look: Duration,
    /// The last look found nothing that a signal reaches.
    held: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Terminating { kill_at: Duration },
    Killing { since: Duration },
    Gone { unkillable: bool },
}

/// The leader has ended, its output is open.
#[derive(Debug)]
struct Drain {
    /// Bytes that have to be delivered, whatever the clock says.
    owed: usize,
    quiet_at: Duration,
    /// What is left of [`DRAIN_BOUND`], at `since`.
    left: Duration,
    /// When the clock was last started; `None` while it stands still.
    since: Option<Duration>,
    /// There is no clock.
    until_end: bool,
}

impl State {
    /// An execution that has just been spawned. `timeout` counts from the spawn.
    pub fn new(timeout: Option<Duration>, kill_after: Duration) -> Self {
        Self {
            timeout,
            kill_after,
            until_end: false,
            exit: None,
            ending: None,
            sent: 0,
            output_open: true,
            blocked: false,
            drain: None,
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
    pub fn on_event(&mut self, now: Duration, event: Event) -> Actions {
        let mut actions = Actions::new();
        if self.finished {
            return actions;
        }
        match event {
            Event::Output { bytes } => self.output(now, bytes),
            Event::OutputEnded => self.output_open = false,
            Event::Blocked => self.block(now),
            Event::Unblocked => self.unblock(now),
            Event::Exited { status, unread } => self.exited(now, status, unread, &mut actions),
            Event::Signal(number) => self.signal(now, number, &mut actions),
            Event::End(cause) => self.end(now, cause, &mut actions),
            Event::Lost => self.lost(now, &mut actions),
            Event::TreeGone => self.tree_gone(now),
            Event::TreeLives { held } => self.tree_lives(now, held),
            Event::Deadline => self.deadline_passed(now, &mut actions),
        }
        self.settle(now, &mut actions);
        actions
    }

    /// When [`Event::Deadline`] is due.
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
        let drain = self
            .drain
            .as_ref()
            .filter(|_| self.output_open && self.is_tree_settled())
            .and_then(Drain::deadline);
        [ending, timeout, drain].into_iter().flatten().min()
    }

    /// Whether the leader has ended or is being ended: output is then sent as it comes.
    pub fn is_ending(&self) -> bool {
        self.exit.is_some() || self.ending.is_some()
    }

    fn output(&mut self, now: Duration, bytes: usize) {
        if let Some(drain) = &mut self.drain {
            drain.owed = drain.owed.saturating_sub(bytes);
            drain.quiet_at = now + DRAIN_QUIET;
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

    fn exited(&mut self, now: Duration, status: Status, unread: usize, actions: &mut Actions) {
        if self.exit.is_some() {
            return;
        }
        self.exit = Some(status);
        let mut drain = Drain {
            owed: unread,
            quiet_at: now + DRAIN_QUIET,
            left: DRAIN_BOUND,
            since: None,
            // A tree that is being ended holds nothing open for long.
            until_end: self.until_end && self.ending.is_none(),
        };
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
                    held: false,
                });
            }
        }
        actions.push(Action::KillTree);
    }

    fn end(&mut self, now: Duration, cause: Cause, actions: &mut Actions) {
        if self.ending.is_some() {
            return;
        }
        // One whose output is read to its end is not over before: it is ended, as while its leader ran.
        let is_over = self.exit.is_some() && !self.until_end;
        if is_over {
            // It ended by itself: what it left in the background runs on, and nobody waits for its output any more.
            if let Some(drain) = &mut self.drain {
                *drain = Drain::over(now);
            }
            return;
        }
        if let Some(drain) = &mut self.drain {
            drain.bound(now);
        }
        self.ending = Some(Ending {
            cause: Some(cause),
            stage: Stage::Terminating {
                kill_at: now + self.kill_after,
            },
            next_look: now,
            held: false,
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

    fn tree_gone(&mut self, now: Duration) {
        if let (Some(ending), Some(_)) = (&mut self.ending, &self.exit) {
            ending.stage = Stage::Gone { unkillable: false };
            if let Some(drain) = self.drain.as_mut().filter(|_| self.until_end) {
                drain.bound(now);
            }
        }
    }

    /// The next look counts from the end of this one, which may have taken long.
    fn tree_lives(&mut self, now: Duration, held: bool) {
        if let Some(ending) = &mut self.ending {
            ending.held = held;
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
        if self.output_open {
            let drained = self.drain.as_ref().is_none_or(|drain| drain.is_over(now));
            if !drained {
                return;
            }
            self.output_open = false;
            actions.push(Action::CloseOutput);
        }
        self.finished = true;
        actions.push(Action::Finish(Outcome {
            status: self.exit,
            reason: self.reason(),
            unkillable,
        }));
    }

    /// Whether nothing in the tree is waited for: it is left alone, or gone, or given up.
    fn is_tree_settled(&self) -> bool {
        self.ending
            .as_ref()
            .is_none_or(|ending| matches!(ending.stage, Stage::Gone { .. }))
    }

    fn reason(&self) -> Reason {
        let cause = self.ending.as_ref().and_then(|ending| ending.cause);
        match (cause, self.exit) {
            (Some(cause), _) => Reason::Ended(cause),
            (None, Some(Status::Signal { number, .. })) if self.was_sent(number) => Reason::Signal,
            (None, Some(_)) => Reason::Own,
            (None, None) => Reason::Lost,
        }
    }

    fn was_sent(&self, number: i32) -> bool {
        (1..=MAX_SIGNAL).contains(&number) && self.sent & (1 << (number - 1)) != 0
    }
}

impl Ending {
    /// Whether the tree, killed since then, is not to be waited for.
    fn is_hopeless(&self, since: Duration, now: Duration) -> bool {
        let bound = if self.held { KILL_BOUND } else { KILL_LIMIT };
        since + bound <= now
    }

    fn is_given_up(&self) -> bool {
        self.stage == Stage::Gone { unkillable: true }
    }
}

impl Drain {
    fn over(now: Duration) -> Self {
        Self {
            owed: 0,
            quiet_at: now,
            left: Duration::ZERO,
            since: Some(now),
            until_end: false,
        }
    }

    /// Gives it a clock, which begins now.
    fn bound(&mut self, now: Duration) {
        self.until_end = false;
        self.left = DRAIN_BOUND;
        if self.since.is_some() {
            self.since = Some(now);
            self.quiet_at = now + DRAIN_QUIET;
        }
    }

    fn start(&mut self, now: Duration) {
        if self.since.is_none() {
            self.since = Some(now);
            self.quiet_at = now + DRAIN_QUIET;
        }
    }

    fn stop(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(now.saturating_sub(since));
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let since = self.since?;
        // What is owed is there to be read, so its end needs no clock.
        (self.owed == 0 && !self.until_end).then(|| self.quiet_at.min(since + self.left))
    }

    fn is_over(&self, now: Duration) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

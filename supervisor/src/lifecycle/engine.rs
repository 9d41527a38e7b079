//! One execution between its spawn and its last event. The engine owns the descriptors; between two waits of its host it reads,
//! feeds, tells [`Life`] what happened and does what that says. It waits for nothing itself: a host does, under whatever runtime it
//! has, and says what is ready. All times are since the spawn.

use std::{sync::Arc, time::Duration};

use super::{
    action::Action,
    counters::Counters,
    event::Exit,
    fact::Fact,
    feeder::{Fed, Feeder},
    life::Life,
    outcome::{Cause, Outcome},
    outlet::{Flow, Outlet},
    output::{OutputStream, STREAMS},
    outputs::Outputs,
    port::{Descriptor, Interest, LOOK_INTERVAL, Port, Watched},
    stdin::{Stdin, StdinChunk, StdinError},
    totals::HeldUp,
};
use crate::process::{Process, Stdio, TreeLook, Usage, WindowSize};

/// Runs one execution.
#[derive(Debug)]
pub struct Engine<F, O> {
    /// `None` once the execution has ended and the process was let go of.
    process: Option<Process>,
    /// `None` once the leader has ended.
    leader: Option<Port<F>>,
    outputs: Outputs<F>,
    feeder: Feeder<F>,
    life: Life,
    outlet: O,
    counters: Arc<Counters>,
    usage: Usage,
    ended_at: Option<Duration>,
    output_left_open: bool,
    /// While its reader holds it up.
    held_up: Option<HeldUp>,
    exit: Option<Exit>,
}

/// What an engine waits for.
#[derive(Debug)]
pub struct Wants<'a, F> {
    /// The leader's end.
    pub leader: Option<&'a F>,
    /// Output, by its index; what stands first is to be served first.
    pub outputs: [Option<(usize, &'a F)>; STREAMS],
    /// Room for stdin.
    pub stdin: Option<&'a F>,
    /// A point in time.
    pub deadline: Option<Duration>,
}

/// What has come of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// The leader's end.
    Leader,
    /// Output, by its index.
    Output(usize),
    /// Room for stdin.
    Stdin,
    /// The deadline.
    Deadline,
    /// The outlet has room.
    Room,
    /// The outlet's reader has gone.
    ReaderGone,
}

impl<F: Watched, O: Outlet> Engine<F, O> {
    /// Takes over a process that has just been spawned, with the stdin that it is to get.
    pub fn new(
        (process, stdio): (Process, Stdio),
        stdin: Stdin,
        life: Life,
        outlet: O,
        counters: Arc<Counters>,
    ) -> Self {
        let pidfd = Descriptor::Leader(process.pidfd());
        let (outputs, feeder) = match stdio {
            Stdio::Pipes {
                stdin: fd,
                stdout,
                stderr,
            } => (
                Outputs::pipes(stdout, stderr),
                Feeder::new(fd, false, stdin),
            ),
            Stdio::Terminal { input, output } => (
                Outputs::terminal(output),
                Feeder::new(Some(input), true, stdin),
            ),
        };
        let mut engine = Self {
            leader: Some(Port::watched(pidfd, Interest::Readable)),
            process: Some(process),
            outputs,
            feeder,
            life,
            outlet,
            counters,
            usage: Usage::default(),
            ended_at: None,
            output_left_open: false,
            held_up: None,
            exit: None,
        };
        engine.begin();
        engine
    }

    fn begin(&mut self) {
        let Some(process) = &self.process else {
            return;
        };
        self.outlet.started(Duration::ZERO, process.pid());
        let is_terminal = process.has_terminal();
        for stream in 0..STREAMS {
            if self.outputs.get(stream).is_none() {
                self.tell(Fact::OutputEnded { stream }, Duration::ZERO);
            }
        }
        if O::PATIENCE.is_zero() || is_terminal {
            self.outputs.watch(Duration::ZERO);
        } else {
            self.outputs.watch_at(O::PATIENCE);
        }
        self.feeder.feed(Duration::ZERO);
        self.counters.accept(self.feeder.accepted());
    }

    /// What to wait for at `now`.
    pub fn wants(&self, now: Duration) -> Wants<'_, F> {
        Wants {
            leader: self.leader.as_ref().and_then(Port::awaited),
            outputs: self.outputs.in_turn().map(|index| {
                let awaited = self.outputs.get(index)?.port.awaited()?;
                self.may_read(index).then_some((index, awaited))
            }),
            stdin: self.feeder.awaited(),
            deadline: self.deadline(now),
        }
    }

    /// Does what is to be done now that `ready` has come.
    pub fn ready(&mut self, ready: Ready, now: Duration) {
        match ready {
            Ready::Leader => self.leader_ended(now),
            Ready::Output(index) => self.read(index, false, now),
            Ready::Stdin => {
                self.feeder.feed(now);
                self.counters.accept(self.feeder.accepted());
            }
            Ready::Deadline => self.time_passed(now),
            Ready::Room => {}
            Ready::ReaderGone => {
                let flow = self.outlet.abandon();
                self.tell_flow(flow, now);
                self.tell(Fact::End(Cause::Disconnect), now);
            }
        }
        self.pass_on(now);
    }

    /// Sends a signal, 1 to 64.
    pub fn signal(&mut self, number: i32, now: Duration) {
        self.tell(Fact::Signal(number), now);
        self.pass_on(now);
    }

    /// Ends the execution.
    pub fn end(&mut self, cause: Cause, now: Duration) {
        self.tell(Fact::End(cause), now);
        self.pass_on(now);
    }

    /// Sets the window size of the command's terminal; `false` if it has none.
    pub fn resize(&mut self, size: WindowSize) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| matches!(process.resize(size), Ok(true)))
    }

    /// Whether stdin takes another chunk.
    pub fn takes_stdin(&self) -> bool {
        self.feeder.has_room()
    }

    /// Bytes of stdin that the command has not taken.
    pub fn waiting_stdin(&self) -> usize {
        self.feeder.waiting_bytes()
    }

    /// Gives the command stdin, only while [`Self::takes_stdin`].
    pub fn offer_stdin(&mut self, chunk: StdinChunk, now: Duration) -> Result<Fed, StdinError> {
        let fed = self.feeder.offer(now, chunk);
        self.counters.accept(self.feeder.accepted());
        self.pass_on(now);
        fed
    }

    /// Ends its stdin, only while [`Self::takes_stdin`]: what waits for room would come behind the end.
    pub fn end_stdin(&mut self, now: Duration) {
        self.feeder.end(now);
        self.counters.accept(self.feeder.accepted());
        self.pass_on(now);
    }

    /// How the execution ended, once it has. What its reader has not been sent is passed on by [`Self::deliver`].
    pub fn exit(&self) -> Option<&Exit> {
        self.exit.as_ref()
    }

    /// Passes on what is left and the exit, as far as there is room; `true`: all of it. `before_last` is called before the last
    /// of it leaves.
    pub fn deliver(&mut self, now: Duration, before_last: impl FnOnce()) -> bool {
        match self.exit {
            Some(exit) => self.outlet.deliver(now, exit, before_last),
            None => false,
        }
    }

    /// Where the output goes.
    pub fn outlet(&self) -> &O {
        &self.outlet
    }

    /// The same, to be changed.
    pub fn outlet_mut(&mut self) -> &mut O {
        &mut self.outlet
    }

    /// Whether the leader has ended.
    pub fn has_leader_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// Whether the execution is being ended, by a caller's KILL or by the server.
    pub fn is_being_ended(&self) -> bool {
        self.life.is_being_ended()
    }

    /// Drops what of a chunk of stdin has not been accepted, because whoever wrote it has gone.
    pub fn forget_waiting_stdin(&mut self) {
        self.feeder.forget_waiting();
    }

    /// Reaps what has fallen to this process, as the subreaper of this execution alone, and has ended.
    pub fn reap_orphans(&self) {
        if let Some(process) = &self.process {
            process.reap_orphans();
        }
    }

    /// How far the execution has come.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn deadline(&self, now: Duration) -> Option<Duration> {
        [
            self.life.deadline(),
            self.outlet.deadline(now, self.life.is_ending()),
            self.leader.as_ref().and_then(Port::look_at),
            self.outputs.look_at(),
            self.feeder.look_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn time_passed(&mut self, now: Duration) {
        let leader_is_due = |leader: &mut Port<F>| leader.wake_if_due(now);
        let is_due = self.leader.as_mut().is_some_and(leader_is_due);
        // The leader's end may be there without having been announced yet, and a tree must not be given up for that.
        if is_due || self.life.is_ending() {
            self.leader_ended(now);
        }
        if self.outputs.is_watch_due(now) {
            self.outputs.watch(now);
        }
        for index in 0..STREAMS {
            let output = self.outputs.get_mut(index);
            let is_due = output.is_some_and(|output| output.port.wake_if_due(now));
            // What is there to be read is not silence, however late the host came to look.
            if is_due || (self.ended_at.is_some() && self.may_read(index)) {
                self.read(index, true, now);
            }
        }
        if self.feeder.wake_if_due(now) {
            self.feeder.feed(now);
            self.counters.accept(self.feeder.accepted());
        }
        self.tell(Fact::Deadline, now);
    }

    fn leader_ended(&mut self, now: Duration) {
        let (Some(leader), Some(process)) = (&mut self.leader, &self.process) else {
            return;
        };
        let (status, usage) = match process.status() {
            Ok(Some(ended)) => ended,
            Ok(None) => {
                // Announced and not to be had: a debugger that traces the leader sees its end first.
                if !self.life.is_ending() {
                    leader.rest(now + LOOK_INTERVAL);
                }
                return;
            }
            Err(error) => {
                tracing::error!(%error, "cannot read how a command ended; killing it");
                self.leader = None;
                self.outputs.wake();
                return self.tell(Fact::Lost, now);
            }
        };
        self.leader = None;
        self.outputs.wake();
        self.usage = usage;
        self.ended_at = Some(now);
        if self.outputs.are_unwatched() {
            self.catch_up(now);
        }
        let unread = self.outputs.unread();
        self.tell(Fact::Exited { status, unread }, now);
    }

    /// Reads what there is of output that nobody has watched, and watches what is not at its end.
    fn catch_up(&mut self, now: Duration) {
        for index in 0..STREAMS {
            // A pipe that was never enlarged holds no more than one read takes; behind it is the end, if it is there.
            for _ in 0..2 {
                self.read(index, true, now);
            }
        }
        self.outputs.watch(now);
    }

    /// Tells [`Life`] what happened, and does what it says.
    fn tell(&mut self, fact: Fact, now: Duration) {
        for action in self.life.on_fact(now, fact) {
            self.act(action, now);
        }
    }

    fn act(&mut self, action: Action, now: Duration) {
        let Some(process) = &self.process else {
            return;
        };
        match action {
            Action::SignalGroup(number) => {
                if let Err(error) = process.signal_group(number) {
                    tracing::debug!(%error, number, "signal not sent");
                }
            }
            Action::SignalTree(number) => process.signal_tree(number),
            Action::KillTree => process.kill_tree(),
            Action::LookAtTree => {
                let seen = match process.look_at_tree() {
                    TreeLook::Gone => Fact::TreeGone {
                        unread: self.outputs.unread(),
                    },
                    TreeLook::Alive => Fact::TreeLives { held: false },
                    TreeLook::Held => Fact::TreeLives { held: true },
                };
                self.tell(seen, now);
            }
            Action::CloseOutput => {
                self.output_left_open = self.outputs.are_held_open();
                for index in 0..STREAMS {
                    self.end_output(index);
                }
            }
            Action::Finish(outcome) => self.finish(outcome, now),
        }
    }

    /// Passes on what is due, and tells [`Life`] whether the reader holds it up.
    fn pass_on(&mut self, now: Duration) {
        if self.exit.is_none() {
            let flow = self.outlet.pass_on(now, self.life.is_ending());
            self.tell_flow(flow, now);
        }
    }

    fn tell_flow(&mut self, flow: Flow, now: Duration) {
        match flow {
            Flow::Same => {}
            Flow::Blocked => {
                self.held_up = Some(HeldUp::since(now, self.counters.totals()));
                self.tell(Fact::Blocked, now);
            }
            Flow::Unblocked => {
                self.end_holding_up(now);
                self.tell(Fact::Unblocked, now);
            }
        }
    }

    fn end_holding_up(&mut self, now: Duration) {
        if let Some(held_up) = self.held_up.take() {
            held_up.end(now);
        }
    }

    fn may_read(&self, index: usize) -> bool {
        let output = self.outputs.get(index);
        output.is_some_and(|output| {
            output.port.look_at().is_none()
                && self.outlet.takes(output.stream)
                && self.life.readable(index) > 0
        })
    }

    /// One read.
    fn read(&mut self, index: usize, ask: bool, now: Duration) {
        let Some(output) = self.outputs.take_turn(index) else {
            return;
        };
        let (stream, most) = (output.stream, self.life.readable(index));
        let read = self
            .outlet
            .read(stream, |buffer| output.read(now, ask, most, buffer));
        match read {
            // To close the master now would hang its session up: a leader on its way out would die of SIGHUP.
            Ok(0) if stream == OutputStream::Terminal && self.leader.is_some() => {
                output.port.rest(now + LOOK_INTERVAL);
            }
            Ok(0) => {
                self.end_output(index);
                self.tell(Fact::OutputEnded { stream: index }, now);
            }
            Ok(bytes) => {
                self.counters.read(stream, bytes);
                let read = Fact::Output {
                    stream: index,
                    bytes,
                };
                self.tell(read, now);
            }
            // Nothing there after all.
            Err(_) => {}
        }
    }

    fn end_output(&mut self, index: usize) {
        let Some(stream) = self.outputs.close(index) else {
            return;
        };
        self.outlet.end(stream);
        if stream == OutputStream::Terminal {
            // With the last master closed, the terminal is hung up.
            self.feeder.close();
            if let Some(process) = &mut self.process {
                process.close_terminal();
            }
        }
    }

    /// Lets go of the process.
    fn finish(&mut self, outcome: Outcome, now: Duration) {
        self.feeder.close();
        let Some(process) = self.process.take() else {
            return;
        };
        self.end_holding_up(now);
        let drained = now.saturating_sub(self.ended_at.unwrap_or(now));
        self.counters.totals().drained(drained);
        self.exit = Some(Exit {
            outcome,
            wall_time: self.ended_at.unwrap_or(now),
            usage: self.usage,
            oom_killed: process.oom_killed(),
            output_left_open: self.output_left_open,
        });
        if outcome.unkillable {
            tracing::error!(
                pid = process.pid(),
                "a process survives its KILL: the kernel holds it"
            );
            process.give_up();
        } else {
            process.leave();
        }
    }
}

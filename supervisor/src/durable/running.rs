//! A durable execution that runs: its engine, its journal and its callers, between two waits.

use std::{
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::event::PollFlags;

use super::{
    connection::Connection,
    message::{Attached, BlockedBy, EndCause, MAX_STDIN_BYTES, Report, Stage, Status, StdinPiece},
    order,
    sink::Sink,
    watched::{Watch, at},
};
use crate::{
    journal::{Full, JournalCosts, Writer},
    lifecycle::{
        counters::Counters,
        engine::{Engine, Ready},
        event::Exit,
        feeder::Fed,
        life::{Life, MAX_SIGNAL},
        outcome::Cause,
        outlet::EventOutlet,
        port::{Polled, Watched},
        presence::Presence,
        stdin::Stdin,
    },
    process::{Process, Stdio, WindowSize, solo},
};

/// So often what can be read is read before what was read is committed.
const READS_A_COMMIT: usize = 4;

/// After so long without output, memory that it took is given back.
const QUIET: Duration = Duration::from_millis(200);

/// What a supervisor waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The server.
    Link,
    /// Another server.
    Listener,
    /// A child has ended.
    Children,
    /// News of the child on its way to its program.
    Launch,
    /// Something that the engine wants.
    Engine(Ready),
}

fn is_output(source: &Source) -> bool {
    matches!(source, Source::Engine(Ready::Output(_)))
}

/// An execution.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Running {
    engine: Engine<Polled, EventOutlet<Sink>>,
    spawned: Instant,
    pid: i32,
    drain_to_end: bool,
    /// The server waits for a piece of stdin to be taken.
    is_stdin_waiting: bool,
    /// Nobody's readers are waited for any more.
    is_given_up: bool,
    is_delivered: bool,
    /// There was output, for which memory was taken: when it is to be given back.
    trim_at: Option<Duration>,
    told: Told,
}

/// What the server was told last.
#[derive(Debug, Default)]
struct Told {
    through: u64,
    stdin_accepted: u64,
    blocked: Option<Full>,
}

impl Running {
    /// One that was spawned just now.
    pub(super) fn begin(
        order: order::Received,
        (process, stdio): (Process, Stdio),
        writer: Writer,
        attached: Attached,
    ) -> Self {
        let spawned = process.born();
        let pid = process.pid();
        let counters = Arc::<Counters>::default();
        let life = Life::new(order.timeout, order.kill_after).until_end(order.drain_to_end);
        let stdin = Stdin::new(order.stdin, order.stdin_open, order.terminal.is_some());
        let mut sink = Sink::new(writer, !order.settings.keep.no_output);
        sink.set_attached(attached, Duration::ZERO);
        let outlet = EventOutlet::new(sink, Arc::clone(&counters));
        Self {
            engine: Engine::new((process, stdio), stdin, life, outlet, counters),
            spawned,
            pid,
            drain_to_end: order.drain_to_end,
            is_stdin_waiting: false,
            is_given_up: false,
            is_delivered: false,
            trim_at: None,
            told: Told::default(),
        }
    }

    fn now(&self) -> Duration {
        self.spawned.elapsed()
    }

    fn sink(&self) -> Option<&Sink> {
        self.engine.outlet().sink()
    }

    fn sink_mut(&mut self) -> Option<&mut Sink> {
        self.engine.outlet_mut().sink_mut()
    }

    /// The report of its start.
    pub(super) fn started(&self) -> Report {
        Report::Started {
            pid: self.pid,
            // The event's own: a server tells it without having read the journal.
            time: self
                .sink()
                .and_then(Sink::started)
                .unwrap_or_else(SystemTime::now),
        }
    }

    /// Adds what it waits for.
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a, Source>) {
        let commit_at = self.sink().and_then(Sink::commit_at);
        watch.until(at(self.spawned, commit_at));
        watch.until(at(self.spawned, self.trim_at));
        if self.engine.exit().is_some() {
            return;
        }
        let wants = self.engine.wants(self.now());
        watch.until(at(self.spawned, wants.deadline));
        let mut add = |fd: &'a Polled, interest, ready| {
            watch.add(fd.descriptor().as_fd(), interest, Source::Engine(ready));
        };
        if let Some(leader) = wants.leader {
            add(leader, PollFlags::IN, Ready::Leader);
        }
        for (index, fd) in wants.outputs.into_iter().flatten() {
            add(fd, PollFlags::IN, Ready::Output(index));
        }
        if let Some(stdin) = wants.stdin {
            add(stdin, PollFlags::OUT, Ready::Stdin);
        }
    }

    /// Does what is to be done now that something is ready. The leader's end, which makes a deadline void, goes before that, and
    /// all else behind it.
    pub(super) fn serve(&mut self, ready: &[Source]) {
        if self.engine.exit().is_some() {
            return;
        }
        let now = self.now();
        if ready.contains(&Source::Engine(Ready::Leader)) {
            self.engine.ready(Ready::Leader, now);
        }
        if self.engine.wants(now).deadline.is_some_and(|at| at <= now) {
            self.engine.ready(Ready::Deadline, now);
        }
        for source in ready {
            if let Source::Engine(ready @ (Ready::Output(_) | Ready::Stdin)) = source {
                self.engine.ready(*ready, self.now());
            }
        }
        self.read_on(ready);
        self.trim(ready);
        if ready.contains(&Source::Children) {
            self.engine.reap_orphans();
        }
    }

    /// Reads more of what is being written fast, so that one write to the journal takes all of it.
    fn read_on(&mut self, ready: &[Source]) {
        if !ready.iter().any(is_output) {
            return;
        }
        for _ in 1..READS_A_COMMIT {
            let now = self.now();
            let wants = self.engine.wants(now);
            let mut watch = Watch::new();
            for (index, fd) in wants.outputs.into_iter().flatten() {
                watch.add(fd.descriptor().as_fd(), PollFlags::IN, index);
            }
            watch.until(Some(self.spawned));
            let ready = watch.wait();
            if ready.is_empty() {
                return;
            }
            for index in ready {
                self.engine.ready(Ready::Output(index), now);
            }
        }
    }

    fn trim(&mut self, ready: &[Source]) {
        let now = self.now();
        if ready.iter().any(is_output) {
            self.trim_at = Some(now + QUIET);
        } else if self.trim_at.take_if(|at| *at <= now).is_some() {
            solo::trim_memory();
        }
    }

    /// Whether nothing of the command is waited for any more.
    pub(super) fn has_exited(&self) -> bool {
        self.engine.exit().is_some()
    }

    /// Whoever is attached.
    pub(super) fn set_attached(&mut self, attached: Attached) {
        let now = self.now();
        if let Some(sink) = self.sink_mut() {
            sink.set_attached(attached, now);
        }
        self.engine.ready(Ready::Room, now);
    }

    /// The server has gone: nobody waits for its stdin to be taken.
    pub(super) fn server_gone(&mut self) {
        self.is_stdin_waiting = false;
        self.engine.forget_waiting_stdin();
        self.told = Told::default();
        self.set_attached(Attached::default());
    }

    /// The answer to a piece of stdin, if there is one at once. `Err`: one is waiting already, or it is too long.
    pub(super) fn take_stdin(&mut self, piece: StdinPiece) -> Result<Option<Report>, ()> {
        if self.is_stdin_waiting || piece.data.len() > MAX_STDIN_BYTES {
            return Err(());
        }
        let now = self.now();
        Ok(match self.engine.offer_stdin(piece.into(), now) {
            Ok(Fed::Accepted(accepted)) => Some(Report::StdinTaken { accepted }),
            Ok(Fed::Waiting) => {
                self.is_stdin_waiting = true;
                None
            }
            Err(why) => Some(Report::StdinRefused(why)),
        })
    }

    /// Sends a signal; `false`: it has ended, or there is no such signal.
    pub(super) fn signal(&mut self, number: i32) -> bool {
        if !(1..=MAX_SIGNAL).contains(&number) {
            return false;
        }
        let now = self.now();
        self.engine.signal(number, now);
        self.is_given_up |= number == libc::SIGKILL;
        self.engine.exit().is_none()
    }

    /// Sets the terminal's size; `false`: it has none.
    pub(super) fn resize(&mut self, size: WindowSize) -> bool {
        // A size of 0 leaves it as it was.
        size.rows != 0 && size.columns != 0 && self.engine.resize(size)
    }

    /// Ends it for the server.
    pub(super) fn end(&mut self, cause: EndCause) {
        let now = self.now();
        self.is_given_up = true;
        match cause {
            EndCause::Disconnect => self.abandon(),
            EndCause::Shutdown => self.engine.end(Cause::Shutdown, now),
        }
    }

    /// Ends it because nobody has come in time. What has ended by itself is drained all the same: its reader is the journal.
    pub(super) fn abandon(&mut self) {
        self.is_given_up = true;
        if !self.engine.has_leader_ended() || self.drain_to_end {
            let now = self.now();
            self.engine.end(Cause::Disconnect, now);
        }
    }

    /// Passes on and commits what there is, until nothing moves. Returns the report of its end, once there is one.
    pub(super) fn settle(&mut self) -> Option<Report> {
        let now = self.now();
        let is_over = self.is_given_up || self.engine.is_being_ended();
        if let Some(sink) = self.sink_mut()
            && is_over
            && (sink.attached().callers == 0 || sink.is_stuck())
        {
            sink.force(now);
            self.engine.ready(Ready::Room, now);
        }
        loop {
            if self.engine.exit().is_some() && !self.is_delivered {
                self.is_delivered = self.engine.deliver(now, || {});
            }
            let has_room = self.sink_mut().is_some_and(|sink| sink.commit(now));
            if !has_room {
                break;
            }
            self.engine.ready(Ready::Room, now);
        }
        let (exit, (sequence, time)) = self.ended()?;
        Some(Report::Ended {
            sequence,
            time,
            exit,
            kept: self.sink()?.failure().is_none(),
            summary: Some(Box::new((self.status(), JournalCosts::of_this_process()))),
        })
    }

    /// How it ended, and its last event.
    fn ended(&self) -> Option<(Exit, (u64, SystemTime))> {
        let exit = *self.engine.exit().filter(|_| self.is_delivered)?;
        Some((exit, self.sink()?.last()?))
    }

    /// Nothing is written any more.
    pub(super) fn close_journal(&mut self) {
        if let Some(sink) = self.sink_mut() {
            sink.trim();
        }
    }

    /// Tells the server what is new, as long as there is room.
    pub(super) fn tell(&mut self, server: &mut Connection) {
        if self.is_stdin_waiting && self.engine.takes_stdin() {
            self.is_stdin_waiting = false;
            let accepted = self.engine.counters().stdin_accepted();
            server.send(&Report::StdinTaken { accepted });
        }
        while server.is_idle() && !server.is_broken() {
            let Some(report) = self.next_report() else {
                return;
            };
            server.send(&report);
        }
    }

    fn next_report(&mut self) -> Option<Report> {
        let sink = self.engine.outlet_mut().sink_mut()?;
        if let Some(report) = sink.next_report() {
            return Some(report);
        }
        if self.is_delivered && sink.last().is_some() {
            // The report of the end says the rest.
            return None;
        }
        let (through, stdin_accepted) = (sink.through(), sink.stdin_accepted());
        if (through, stdin_accepted) != (self.told.through, self.told.stdin_accepted) {
            (self.told.through, self.told.stdin_accepted) = (through, stdin_accepted);
            return Some(Report::Grown {
                through,
                stdin_accepted,
            });
        }
        let full = sink.full();
        if full == self.told.blocked {
            return None;
        }
        self.told.blocked = full;
        Some(full.map_or(Report::Unblocked, |full| Report::Blocked(full.into())))
    }

    /// How it is.
    pub(super) fn status(&self) -> Status {
        let counters = self.engine.counters();
        let sink = self.sink();
        let failure = sink.and_then(Sink::failure);
        Status {
            stage: match self.ended() {
                Some(_) => Stage::Ended,
                None => Stage::Running,
            },
            pid: self.pid,
            last_sequence: counters.last_sequence(),
            through: sink.map_or(0, Sink::through),
            first_kept: sink.map_or(0, Sink::first_kept),
            stdin_accepted: counters.stdin_accepted(),
            stdout_bytes: counters.stdout_bytes(),
            stderr_bytes: counters.stderr_bytes(),
            stored_bytes: sink.map_or(0, Sink::stored_bytes),
            blocked: sink.and_then(Sink::full).map(BlockedBy::from),
            storage_error: failure.map(ToString::to_string).unwrap_or_default(),
            attached: sink.map(Sink::attached).unwrap_or_default(),
        }
    }
}

impl From<Full> for BlockedBy {
    fn from(full: Full) -> Self {
        match full {
            Full::Keep => Self::Keep,
            Full::Disk => Self::Disk,
        }
    }
}

/// Callers, by the clock that runs since the order was given.
#[derive(Debug)]
pub(super) struct Callers {
    presence: Presence,
    since: Instant,
}

impl Callers {
    pub(super) fn new(presence: Presence) -> Self {
        Self {
            presence,
            since: Instant::now(),
        }
    }

    pub(super) fn set(&mut self, callers: u32) {
        self.presence.set_callers(callers, self.since.elapsed());
    }

    pub(super) fn server_gone(&mut self) {
        self.presence.server_gone(self.since.elapsed());
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        at(self.since, self.presence.deadline())
    }

    pub(super) fn are_gone(&mut self) -> bool {
        self.presence.is_over(self.since.elapsed())
    }
}

//! The thin part around the pure ones: waits for what happens to one execution, tells the state machine, and does what it
//! says. Each arm of its `select!` only makes an `Input`; all work is done behind it, synchronously.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use remex_supervisor::lifecycle::{
    life::{self, Action, Cause, Life, Outcome},
    output::OutputStream,
    stdin::Stdin,
};
use remex_supervisor::process::{Pidfd, Process, Stdio, TreeLook, Usage};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::OwnedSemaphorePermit,
};

use super::{
    event::Exit,
    feeder::{Feeder, StdinRequest},
    mailbox::{Mailbox, Progress, Request},
    outlet::{Flow, Outlet},
    reader::{Readers, STREAMS},
    readiness::{readable, register, sleep_or_never},
    sink::Sink,
};

/// A command whose output goes into one answer is left alone for this long: most are over by then, and are read once, at
/// their end, in place of being interrupted by each write.
const UNWATCHED: Duration = Duration::from_millis(5);

/// A terminal that nobody holds open is looked at this often: its leader may open it again.
const TERMINAL_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Drives one execution from its spawn to its end.
#[derive(Debug)]
pub struct Driver {
    spawned: Instant,
    process: Option<Process>,
    leader: Option<AsyncFd<Pidfd>>,
    readers: Readers,
    feeder: Feeder,
    life: Life,
    outlet: Outlet,
    mailbox: Mailbox,
    progress: Arc<Progress>,
    usage: Usage,
    ended_at: Option<Duration>,
}

/// What happened.
enum Input {
    Request(Request),
    Time,
    LeaderEnded,
    CallerGone,
    RoomToSend,
    Readable(usize),
    Writable,
    Stdin(StdinRequest),
}

impl Driver {
    /// Takes over a process that has just been spawned, with the stdin that it is to get.
    pub fn new(
        (process, stdio): (Process, Stdio),
        stdin: Stdin,
        life: Life,
        sink: Sink,
        mailbox: Mailbox,
        progress: Arc<Progress>,
    ) -> io::Result<Self> {
        let leader = register(process.pidfd(), Interest::READABLE)?;
        let (mut readers, feeder) = match stdio {
            Stdio::Pipes {
                stdin: fd,
                stdout,
                stderr,
            } => (
                Readers::pipes(stdout, stderr),
                Feeder::new(fd, false, stdin)?,
            ),
            Stdio::Terminal(master) => {
                let input = master.try_clone()?;
                let feeder = Feeder::new(Some(input.into()), true, stdin)?;
                (Readers::terminal(master.into()), feeder)
            }
        };
        let outlet = Outlet::new(sink, Arc::clone(&progress));
        if outlet.is_collecting() && !process.has_terminal() {
            readers.watch_at(UNWATCHED);
        } else {
            readers.watch()?;
        }
        progress
            .stdin_accepted
            .store(feeder.accepted(), Ordering::Relaxed);
        Ok(Self {
            spawned: Instant::now(),
            process: Some(process),
            leader: Some(leader),
            readers,
            feeder,
            life,
            outlet,
            mailbox,
            progress,
            usage: Usage::default(),
            ended_at: None,
        })
    }

    /// Runs to the end of the execution, which `ended` is told before the last output has been sent. `slot` is held until
    /// nothing of it waits for its caller any more.
    pub async fn run(mut self: Box<Self>, slot: OwnedSemaphorePermit, ended: impl FnOnce(&Exit)) {
        if let Some(process) = &self.process {
            self.outlet.started(self.now(), process.pid());
        }
        self.feeder.feed();
        let outcome = loop {
            let input = self.wait().await;
            if let Some(outcome) = self.handle(input) {
                break outcome;
            }
            if let Some(outcome) = self.pass_on() {
                break outcome;
            }
        };
        let exit = self.finish(outcome);
        ended(&exit);
        let now = self.now();
        self.outlet.deliver(now, exit, slot).await;
    }

    /// Waits for the next thing to happen. Every arm can be dropped without loss.
    async fn wait(&mut self) -> Input {
        let deadline = self.deadline().map(|at| (self.spawned + at).into());
        let reads = [self.may_read(0), self.may_read(1)];
        let room = self.outlet.room();
        tokio::select! {
            biased;
            Some(request) = self.mailbox.requests.recv() => Input::Request(request),
            // Once, and before the clock: a look at a tree may take so long that the next one is due behind it.
            () = readable(self.leader.as_ref(), true) => Input::LeaderEnded,
            () = sleep_or_never(deadline) => Input::Time,
            () = self.outlet.gone() => Input::CallerGone,
            () = room => Input::RoomToSend,
            index = self.readers.readable(reads) => Input::Readable(index),
            () = self.feeder.writable() => Input::Writable,
            Some(stdin) = self.mailbox.stdin.recv(), if self.feeder.has_room() => Input::Stdin(stdin),
        }
    }

    fn handle(&mut self, input: Input) -> Option<Outcome> {
        match input {
            Input::Request(request) => self.request(request),
            Input::Time => self.time_passed(),
            Input::LeaderEnded => self.leader_ended(),
            Input::CallerGone => {
                let flow = self.outlet.abandon();
                let unblocked = self.flow(flow);
                unblocked.or_else(|| self.tell(life::Fact::End(Cause::Disconnect)))
            }
            Input::RoomToSend => None,
            Input::Readable(index) => self.read(index, false),
            Input::Writable => {
                self.feeder.feed();
                self.note_accepted();
                None
            }
            Input::Stdin(request) => {
                self.feeder.take(request);
                self.note_accepted();
                None
            }
        }
    }

    fn request(&mut self, request: Request) -> Option<Outcome> {
        match request {
            Request::Signal(number, answer) => {
                let outcome = self.tell(life::Fact::Signal(number));
                let _ = answer.send(());
                outcome
            }
            Request::Resize(size, answer) => {
                let resized = self.process.as_ref().map(|process| process.resize(size));
                let _ = answer.send(matches!(resized, Some(Ok(true))));
                None
            }
            Request::End(cause) => self.tell(life::Fact::End(cause)),
        }
    }

    fn time_passed(&mut self) -> Option<Outcome> {
        // Its end may be there without having been announced yet, and a tree must not be given up for that.
        if self.life.is_ending()
            && let Some(outcome) = self.leader_ended()
        {
            return Some(outcome);
        }
        if self.readers.is_watch_due(self.now())
            && let Some(outcome) = self.watch_now()
        {
            return Some(outcome);
        }
        if self.readers.wake_if_due(self.now())
            && let Some(outcome) = self.read(0, true)
        {
            return Some(outcome);
        }
        if self.ended_at.is_some() {
            // What is there to be read is not silence, however late this task came to look.
            for index in 0..STREAMS {
                if self.may_read(index)
                    && let Some(outcome) = self.read(index, true)
                {
                    return Some(outcome);
                }
            }
        }
        self.tell(life::Fact::Deadline)
    }

    fn leader_ended(&mut self) -> Option<Outcome> {
        self.leader.as_ref()?;
        let (status, usage) = match self.process.as_ref()?.status() {
            Ok(ended) => ended?,
            Err(error) => {
                tracing::error!(%error, "cannot read how a command ended; killing it");
                self.leader = None;
                self.readers.wake();
                return self.tell(life::Fact::Lost);
            }
        };
        self.leader = None;
        self.readers.wake();
        self.usage = usage;
        self.ended_at = Some(self.now());
        if self.readers.are_unwatched()
            && let Some(outcome) = self.catch_up()
        {
            return Some(outcome);
        }
        let unread = self.readers.unread();
        self.tell(life::Fact::Exited { status, unread })
    }

    /// Reads what there is of output that nobody has watched, and watches what is not at its end.
    fn catch_up(&mut self) -> Option<Outcome> {
        for index in 0..STREAMS {
            // A pipe that was never enlarged holds no more than one read takes; behind it is the end, if it is there.
            for _ in 0..2 {
                if let Some(outcome) = self.read(index, true) {
                    return Some(outcome);
                }
            }
        }
        self.watch_now()
    }

    /// What cannot be watched has ended.
    fn watch_now(&mut self) -> Option<Outcome> {
        if let Err(error) = self.readers.watch() {
            tracing::error!(%error, "cannot watch a command's output; killing it");
            return self.tell(life::Fact::Lost);
        }
        None
    }

    /// Tells the state machine, and does what it says.
    fn tell(&mut self, fact: life::Fact) -> Option<Outcome> {
        let actions = self.life.on_fact(self.now(), fact);
        let mut outcome = None;
        for action in actions {
            outcome = outcome.or(self.act(action));
        }
        outcome
    }

    fn act(&mut self, action: Action) -> Option<Outcome> {
        let process = self.process.as_ref()?;
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
                    TreeLook::Gone => life::Fact::TreeGone,
                    TreeLook::Alive => life::Fact::TreeLives { held: false },
                    TreeLook::Held => life::Fact::TreeLives { held: true },
                };
                return self.tell(seen);
            }
            Action::CloseOutput => {
                for index in 0..STREAMS {
                    self.end_output(index);
                }
            }
            Action::Finish(outcome) => return Some(outcome),
        }
        None
    }

    /// Sends what is due, and tells whether the caller holds it up.
    fn pass_on(&mut self) -> Option<Outcome> {
        let flow = self.outlet.pass_on(self.now(), self.life.is_ending());
        self.flow(flow)
    }

    fn flow(&mut self, flow: Flow) -> Option<Outcome> {
        match flow {
            Flow::Same => None,
            Flow::Blocked => self.tell(life::Fact::Blocked),
            Flow::Unblocked => self.tell(life::Fact::Unblocked),
        }
    }

    fn deadline(&self) -> Option<Duration> {
        [
            self.life.deadline(),
            self.outlet.deadline(self.now(), self.life.is_ending()),
            self.readers.next_look(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn may_read(&self, index: usize) -> bool {
        let stream = self.readers.stream(index);
        stream.is_some_and(|stream| self.outlet.takes(stream))
    }

    /// One read.
    fn read(&mut self, index: usize, now: bool) -> Option<Outcome> {
        let reader = self.readers.get_mut(index)?;
        let stream = reader.stream;
        match self.outlet.read(reader, now) {
            // To close the master now would hang its session up: a leader on its way out would die of SIGHUP.
            Ok(0) if stream == OutputStream::Terminal && self.leader.is_some() => {
                let until = self.now() + TERMINAL_LOOK_INTERVAL;
                self.readers.rest(until);
                None
            }
            Ok(0) => {
                self.end_output(index);
                if self.readers.have_ended() {
                    return self.tell(life::Fact::OutputEnded);
                }
                None
            }
            Ok(bytes) => self.tell(life::Fact::Output { bytes }),
            // Nothing there after all.
            Err(_) => None,
        }
    }

    fn end_output(&mut self, index: usize) {
        let Some(stream) = self.readers.close(index) else {
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

    fn note_accepted(&self) {
        let accepted = self.feeder.accepted();
        self.progress
            .stdin_accepted
            .store(accepted, Ordering::Relaxed);
    }

    /// Lets go of the process. Requests that come later find nobody.
    fn finish(&mut self, outcome: Outcome) -> Exit {
        self.mailbox.requests.close();
        self.mailbox.stdin.close();
        self.feeder.close();
        let wall_time = self.ended_at.unwrap_or_else(|| self.now());
        let oom_killed = self.process.as_ref().is_some_and(Process::oom_killed);
        if let Some(process) = self.process.take() {
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
        Exit {
            outcome,
            wall_time,
            usage: self.usage,
            oom_killed,
        }
    }

    fn now(&self) -> Duration {
        self.spawned.elapsed()
    }
}

//! The host of one attached execution: waits for what its engine wants, and for its callers. Each arm of the `select!` only makes
//! an `Input`; all work is done behind it, synchronously.

use std::time::{Duration, Instant};

use remex_supervisor::lifecycle::{
    engine::{Engine, Ready},
    event::Exit,
    feeder::Fed,
    stdin::StdinError,
};
use tokio::sync::oneshot;

use super::{
    mailbox::{ControlRequest, Mailbox, StdinRequest},
    outlet::AttachedOutlet,
    registered::{Registered, readable, sleep_or_never, writable},
    waiting_stdin::StdinShare,
};
use crate::execution::Place;

/// Hosts one execution from its spawn to its last event.
#[derive(Debug)]
pub struct AttachedHost<O> {
    engine: Engine<Registered, O>,
    spawned: Instant,
    mailbox: Mailbox,
    /// Who waits for the chunk of stdin that there was no room for.
    writer: Option<oneshot::Sender<Result<u64, StdinError>>>,
    /// The memory of stdin that the command has not taken.
    stdin: StdinShare,
}

/// What a [`AttachedHost`] waits for.
enum Input {
    ControlRequest(ControlRequest),
    Stdin(StdinRequest),
    Ready(Ready),
}

impl<O: AttachedOutlet> AttachedHost<O> {
    /// Hosts an execution that was `spawned` a moment ago.
    pub fn new(engine: Engine<Registered, O>, mailbox: Mailbox, spawned: Instant) -> Self {
        Self {
            engine,
            spawned,
            mailbox,
            writer: None,
            stdin: StdinShare::default(),
        }
    }

    /// Runs to the end of the execution, which `ended` is told before the last output has been sent. `slot` is held until
    /// nothing of it waits for its caller any more.
    pub async fn run(mut self: Box<Self>, slot: Place, ended: impl FnOnce(&Exit)) {
        let exit = loop {
            if let Some(exit) = self.engine.exit() {
                break *exit;
            }
            let input = self.wait().await;
            self.handle(input);
        };
        // Requests that come later find nobody.
        self.mailbox.control.close();
        self.mailbox.stdin.close();
        self.writer = None;
        ended(&exit);
        self.deliver(slot).await;
    }

    /// Waits for the next thing to happen. Every arm can be dropped without loss.
    async fn wait(&mut self) -> Input {
        let Self {
            engine, mailbox, ..
        } = self;
        let wants = engine.wants(self.spawned.elapsed());
        // A point beyond the clock's end never comes.
        let deadline = wants.deadline.and_then(|at| self.spawned.checked_add(at));
        let [first, second] = wants.outputs;
        let ready = tokio::select! {
            biased;
            Some(control) = mailbox.control.recv() => return Input::ControlRequest(control),
            // Once, and before the clock: a deadline may be due behind it that its end makes void.
            () = readable(wants.leader) => Ready::Leader,
            () = sleep_or_never(deadline.map(Into::into)) => Ready::Deadline,
            () = engine.outlet().gone() => Ready::ReaderGone,
            () = engine.outlet().room() => Ready::Room,
            index = readable_output(first) => Ready::Output(index),
            index = readable_output(second) => Ready::Output(index),
            () = writable(wants.stdin) => Ready::Stdin,
            Some(stdin) = mailbox.stdin.recv(), if engine.takes_stdin() => return Input::Stdin(stdin),
        };
        Input::Ready(ready)
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Ready(ready) => self.engine.ready(ready, now),
            Input::ControlRequest(control) => self.control(control, now),
            Input::Stdin(StdinRequest::Close) => self.engine.end_stdin(now),
            Input::Stdin(StdinRequest::Chunk(chunk, share, answer)) => {
                self.stdin.absorb(share);
                match self.engine.offer_stdin(chunk, now) {
                    Ok(Fed::Waiting) => self.writer = Some(answer),
                    // Whoever does not wait for the answer any more needs none.
                    Ok(Fed::Accepted(position)) => drop(answer.send(Ok(position))),
                    Err(error) => drop(answer.send(Err(error))),
                }
            }
        }
        self.stdin.shrink_to(self.engine.waiting_stdin());
        if self.engine.takes_stdin()
            && let Some(writer) = self.writer.take()
        {
            let _ = writer.send(Ok(self.engine.counters().stdin_accepted()));
        }
    }

    fn control(&mut self, control: ControlRequest, now: Duration) {
        // Whoever does not wait for the answer any more needs none.
        match control {
            ControlRequest::Signal(number, answer) => {
                self.engine.signal(number, now);
                let _ = answer.send(());
            }
            ControlRequest::Resize(size, answer) => drop(answer.send(self.engine.resize(size))),
            // The record of an attached execution is always up to date.
            ControlRequest::Status(answer) => drop(answer.send(())),
            ControlRequest::End(cause) => self.engine.end(cause, now),
        }
    }

    /// Passes on what is left, as fast as the caller takes it. The slot is given back before the last: whoever has that may
    /// come back at once.
    async fn deliver(&mut self, slot: Place) {
        let mut slot = Some(slot);
        while !self.engine.deliver(self.now(), || drop(slot.take())) {
            let outlet = self.engine.outlet();
            tokio::select! {
                () = outlet.room() => {}
                () = outlet.gone() => return,
            }
        }
    }

    fn now(&self) -> Duration {
        self.spawned.elapsed()
    }
}

/// Returns the index of an output when there is something to read.
async fn readable_output(output: Option<(usize, &Registered)>) -> usize {
    readable(output.map(|(_, registered)| registered)).await;
    output.map_or(0, |(index, _)| index)
}

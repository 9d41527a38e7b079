//! The loop of `remex run`: whatever happens next, locally or far away, becomes one step, and then the step is done.

use std::{
    future::{Future, pending},
    io,
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use remex_client::{Control, Error, Event, Exit, Interaction, Signal, Stream};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    How,
    escapes::Key,
    output::{Output, Target, Written},
    patience::{Action, Patience},
    signals::{Change, Changes, Signals},
    stdin::{Keys, Unread},
    terminal::{self, LOOK_AGAIN, LocalTerminal},
};
use crate::cli::{Failure, escape, json};

/// How long a command that was killed from here may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long a signal may take to be sent; after that the connection is in no state to take one.
const FORWARD_WAIT: Duration = Duration::from_secs(1);

/// A command that runs, and what it is connected to here.
pub(super) struct Session {
    interaction: Interaction,
    control: Control,
    output: Output,
    written: Written,
    local: Local,
    patience: Patience,
    hold: Hold,
    json: bool,
    quiet: bool,
    forwarded: Vec<Signal>,
    leaving: Option<Leaving>,
}

/// What this side is to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Hold {
    /// Its caller, without whom it ends.
    Ends,
    /// Its caller, without whom it goes on, for a while at least.
    Outlives,
    /// Somebody who has joined it, and may leave it.
    Attached,
}

/// What comes from this side.
pub(super) struct Local {
    pub(super) signals: Signals,
    /// The terminal, if it is lent to the command.
    pub(super) terminal: Option<LocalTerminal>,
    pub(super) changes: Changes,
    pub(super) keys: Option<Keys>,
}

/// The command was killed from here, and remex leaves with `failure`, at `deadline` whether or not it is gone.
struct Leaving {
    deadline: Instant,
    failure: Failure,
}

/// How it came to an end here.
pub(super) enum Outcome {
    Ended(Ended),
    /// It was left, as was asked for.
    Left,
}

/// How a command ended.
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// The signals that it was sent from here.
    pub(super) forwarded: Vec<Signal>,
}

enum Step {
    Event(Option<Event>),
    Signal(Signal),
    Change(Change),
    Key(Key),
    LookAgain,
    StdinEnded(Result<(), Unread>),
    OutputEnded(io::Result<()>),
    Deadline,
}

impl Session {
    pub(super) fn new(
        interaction: Interaction,
        (output, written): (Output, Written),
        local: Local,
        how: &How,
    ) -> Self {
        Self {
            control: interaction.control(),
            interaction,
            output,
            written,
            local,
            patience: Patience::default(),
            hold: how.hold,
            json: how.json,
            quiet: how.quiet,
            forwarded: Vec::new(),
            leaving: None,
        }
    }

    /// Runs until the command has ended; `feed` carries stdin until that ends.
    pub(super) async fn run(
        mut self,
        feed: impl Future<Output = Result<(), Unread>>,
    ) -> Result<Outcome, Failure> {
        let mut feed = pin!(feed);
        let mut feeding = true;
        loop {
            let step = tokio::select! {
                event = next(&self.output, &mut self.interaction) => Step::Event(event.map_err(|error| self.broken(error))?),
                signal = self.local.signals.next() => Step::Signal(signal),
                change = self.local.changes.next() => Step::Change(change),
                key = next_key(&mut self.local.keys) => Step::Key(key),
                () = look_again(self.local.terminal.as_ref()) => Step::LookAgain,
                fed = &mut feed, if feeding => Step::StdinEnded(fed),
                written = self.written.wait() => Step::OutputEnded(written),
                () = passed(self.leaving.as_ref()) => Step::Deadline,
            };
            match step {
                Step::Event(Some(Event::Exited(exit))) => return self.finish(exit).await,
                Step::Event(Some(event)) => self.show(&event).await,
                Step::Event(None) => return Err(self.broken(Error::Incomplete)),
                Step::Signal(signal) if self.hangs_up(signal) => return self.leave().await,
                Step::Signal(signal) => self.on_signal(signal).await?,
                Step::Change(change) => self.on_change(change).await?,
                Step::Key(key) if self.leaves_by(key) => return self.leave().await,
                Step::Key(key) => self.on_key(key).await,
                Step::LookAgain => self.on_change(Change::Continued).await?,
                Step::StdinEnded(Ok(())) => feeding = false,
                Step::StdinEnded(Err(unread)) => {
                    return Err(match self.hold {
                        Hold::Ends => Failure::stdin(&unread.error),
                        Hold::Outlives | Hold::Attached => {
                            Failure::stdin_of(&unread.error, self.interaction.id())
                        }
                    });
                }
                Step::OutputEnded(written) => return Err(ended(written)),
                Step::Deadline => return Err(self.left()),
            }
        }
    }

    async fn show(&self, event: &Event) {
        if self.json {
            let line = json::event(self.interaction.id(), self.interaction.position(), event);
            return self.output.write(Target::Stdout, line).await;
        }
        match event {
            Event::Output { stream, data, .. } => {
                let target = match stream {
                    Stream::Stderr => Target::Stderr,
                    _ => Target::Stdout,
                };
                self.output.write(target, data.clone()).await;
            }
            Event::Gap { .. } => {
                if let Some(bytes) = event.missing_bytes() {
                    self.note(&format!("{bytes} bytes of output are missing here"))
                        .await;
                }
            }
            Event::Interrupted { why } if !self.quiet => {
                let said = escape::line(why);
                self.note(&format!("{said}; looking for the server")).await;
            }
            Event::Resumed if !self.quiet => self.note("connected again").await,
            _ => {}
        }
    }

    /// A line for people, in its place among the output.
    async fn note(&self, said: &str) {
        // Where the terminal is raw, a line has to begin at its beginning.
        let line = match &self.local.terminal {
            Some(_) => format!("\r\nremex: {said}\r\n"),
            None => format!("remex: {said}\n"),
        };
        self.output.write(Target::Stderr, Bytes::from(line)).await;
    }

    /// The events have broken off.
    fn broken(&self, error: Error) -> Failure {
        match self.hold {
            Hold::Ends => Failure::while_running(error),
            Hold::Outlives | Hold::Attached => {
                Failure::while_attached(error, self.interaction.id())
            }
        }
    }

    /// Whether the command is left alone with this key.
    fn leaves_by(&self, key: Key) -> bool {
        key == Key::Detach || (key == Key::Leave && self.hold == Hold::Attached)
    }

    /// Whether `signal` says that the terminal is gone of somebody who has attached: the command outlives that.
    fn hangs_up(&self, signal: Signal) -> bool {
        signal == Signal::HUP && self.hold == Hold::Attached && self.local.terminal.is_some()
    }

    async fn on_signal(&mut self, signal: Signal) -> Result<(), Failure> {
        match self.patience.on_signal(signal) {
            Action::Forward => {
                self.forwarded.push(signal);
                self.send(signal).await;
            }
            Action::Kill => self.kill(Failure::signal(Signal::INT)).await,
            Action::Leave => return Err(self.left()),
        }
        Ok(())
    }

    async fn on_key(&mut self, key: Key) {
        match key {
            Key::Leave => {
                let said = "the command was ended by ~. as typed";
                self.kill(Failure::new(said)).await;
            }
            // It leaves, and is not for here.
            Key::Detach => {}
            Key::Suspend => {
                if let Some(terminal) = &mut self.local.terminal {
                    terminal.suspend();
                }
            }
        }
    }

    async fn on_change(&mut self, change: Change) -> Result<(), Failure> {
        if change == Change::Continued
            && let Some(terminal) = &mut self.local.terminal
        {
            terminal.claim()?;
        }
        // A terminal of no size is one that nobody looks at: a minimized window, a multiplexer without a client.
        if let Ok((rows @ 1.., columns @ 1..)) = terminal::size() {
            let _ = timeout(FORWARD_WAIT, self.control.resize(rows, columns)).await;
        }
        Ok(())
    }

    async fn send(&self, signal: Signal) {
        // If it cannot be sent the call is over, and the next event says why.
        let _ = timeout(FORWARD_WAIT, self.control.signal(signal)).await;
    }

    /// Kills the command, to leave with `failure` soon.
    async fn kill(&mut self, failure: Failure) {
        let deadline = Instant::now() + KILL_WAIT;
        self.leaving = Some(Leaving { deadline, failure });
        self.send(Signal::KILL).await;
    }

    /// Why remex leaves.
    fn left(&mut self) -> Failure {
        let leaving = self.leaving.take();
        leaving.map_or_else(|| Failure::signal(Signal::INT), |leaving| leaving.failure)
    }

    /// Goes, without the command; what was read of it is delivered.
    async fn leave(mut self) -> Result<Outcome, Failure> {
        drop(self.output);
        let written = tokio::select! {
            written = self.written.wait() => written,
            signal = self.local.signals.next() => return Err(Failure::signal(signal)),
        };
        written.map_err(|error| Failure::stdout(&error))?;
        Ok(Outcome::Left)
    }

    /// Delivers what is left.
    async fn finish(mut self, exit: Exit) -> Result<Outcome, Failure> {
        if self.json {
            self.show(&Event::Exited(exit.clone())).await;
        }
        let leaving = self.leaving.take();
        drop(self.output);
        let written = tokio::select! {
            written = self.written.wait() => written,
            // There is nothing left to forward to: it is the reader of our output that does not read.
            signal = self.local.signals.next() => return Err(Failure::signal(signal)),
        };
        written.map_err(|error| Failure::stdout(&error))?;
        match leaving {
            Some(leaving) => Err(leaving.failure),
            None => Ok(Outcome::Ended(Ended {
                exit,
                forwarded: self.forwarded,
            })),
        }
    }
}

/// The output has ended before the command.
fn ended(written: io::Result<()>) -> Failure {
    let error = written
        .err()
        .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
    Failure::stdout(&error)
}

/// The next event, once there is room to write it; so a slow reader here slows the command, and no signal.
async fn next(output: &Output, interaction: &mut Interaction) -> Result<Option<Event>, Error> {
    output.room().await;
    interaction.next().await
}

async fn next_key(keys: &mut Option<Keys>) -> Key {
    if let Some(keys) = keys
        && let Some(key) = keys.recv().await
    {
        return key;
    }
    pending().await
}

/// Passes when a terminal that is lent and in somebody else's hands is to be looked at again.
async fn look_again(terminal: Option<&LocalTerminal>) {
    match terminal {
        Some(terminal) if !terminal.is_raw() => sleep(LOOK_AGAIN).await,
        _ => pending().await,
    }
}

async fn passed(leaving: Option<&Leaving>) {
    match leaving {
        Some(leaving) => sleep_until(leaving.deadline).await,
        None => pending().await,
    }
}

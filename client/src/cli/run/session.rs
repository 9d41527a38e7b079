//! The loop of `remex run`: whatever happens next, locally or far away, becomes one step, and then the step is done.

use std::{future::Future, io, pin::pin, time::Duration};

use bytes::Bytes;
use remex_client::{Control, Error, Event, Exit, Interaction, Signal, Stream};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    json,
    output::{Output, Target, Written},
    patience::{Action, Patience},
    signals::{Resizes, Signals},
    terminal,
};
use crate::cli::{Failure, failure::status_of};

/// How long a command that was killed with the third Ctrl-C may take to be gone.
const KILL_WAIT: Duration = Duration::from_secs(2);
/// How long a signal may take to be sent; after that the connection is in no state to take one.
const FORWARD_WAIT: Duration = Duration::from_secs(1);

/// A command that runs, and what it is connected to here.
pub(super) struct Session {
    interaction: Interaction,
    control: Control,
    output: Output,
    written: Written,
    signals: Signals,
    resizes: Resizes,
    patience: Patience,
    json: bool,
    /// When to leave, whether or not the command has ended.
    deadline: Option<Instant>,
}

enum Step {
    Event(Option<Event>),
    Signal(Signal),
    Resize,
    StdinEnded,
    OutputEnded(io::Result<()>),
    Deadline,
}

impl Session {
    pub(super) fn new(
        interaction: Interaction,
        (output, written): (Output, Written),
        signals: Signals,
        resizes: Resizes,
        json: bool,
    ) -> Self {
        Self {
            control: interaction.control(),
            interaction,
            output,
            written,
            signals,
            resizes,
            patience: Patience::default(),
            json,
            deadline: None,
        }
    }

    /// Runs until the command has ended; `feed` carries stdin until that ends.
    pub(super) async fn run(mut self, feed: impl Future<Output = ()>) -> Result<u8, Failure> {
        let mut feed = pin!(feed);
        let mut feeding = true;
        loop {
            let step = tokio::select! {
                event = next(&self.output, &mut self.interaction) => Step::Event(event.map_err(Failure::while_running)?),
                signal = self.signals.next() => Step::Signal(signal),
                () = self.resizes.next() => Step::Resize,
                () = &mut feed, if feeding => Step::StdinEnded,
                written = self.written.wait() => Step::OutputEnded(written),
                () = passed(self.deadline) => Step::Deadline,
            };
            match step {
                Step::Event(Some(Event::Exited(exit))) => return self.finish(exit).await,
                Step::Event(Some(event)) => self.show(&event).await,
                Step::Event(None) => return Err(Failure::while_running(Error::Incomplete)),
                Step::Signal(signal) => self.on_signal(signal).await?,
                Step::Resize => self.on_resize().await,
                Step::StdinEnded => feeding = false,
                Step::OutputEnded(written) => return ended(written),
                Step::Deadline => return Err(Failure::signal(Signal::INT)),
            }
        }
    }

    async fn show(&self, event: &Event) {
        if self.json {
            let line = json::line(self.interaction.id(), event);
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
            Event::Gap {
                stdout_bytes,
                stderr_bytes,
                terminal_bytes,
            } => {
                let bytes = stdout_bytes + stderr_bytes + terminal_bytes;
                let line = format!("remex: {bytes} bytes of output are missing here\n");
                self.output.write(Target::Stderr, Bytes::from(line)).await;
            }
            _ => {}
        }
    }

    async fn on_signal(&mut self, signal: Signal) -> Result<(), Failure> {
        let forwarded = match self.patience.on_signal(signal) {
            Action::Forward => signal,
            Action::Kill => {
                self.deadline = Some(Instant::now() + KILL_WAIT);
                Signal::KILL
            }
            Action::Leave => return Err(Failure::signal(Signal::INT)),
        };
        // If it cannot be sent the call is over, and the next event says why.
        let _ = timeout(FORWARD_WAIT, self.control.signal(forwarded)).await;
        Ok(())
    }

    async fn on_resize(&self) {
        if let Ok((rows, columns)) = terminal::size() {
            let _ = timeout(FORWARD_WAIT, self.control.resize(rows, columns)).await;
        }
    }

    /// Delivers what is left, and answers with the exit code.
    async fn finish(mut self, exit: Exit) -> Result<u8, Failure> {
        if self.json {
            self.show(&Event::Exited(exit.clone())).await;
        }
        drop(self.output);
        let written = tokio::select! {
            written = self.written.wait() => written,
            // There is nothing left to forward to: it is the reader of our output that does not read.
            signal = self.signals.next() => return Err(Failure::signal(signal)),
        };
        written.map_err(|error| Failure::stdout(&error))?;
        if self.patience.is_over() {
            return Err(Failure::signal(Signal::INT));
        }
        status_of(&exit)
    }
}

/// The output has ended before the command.
fn ended(written: io::Result<()>) -> Result<u8, Failure> {
    let error = written
        .err()
        .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
    Err(Failure::stdout(&error))
}

/// The next event, once there is room to write it; so a slow reader here slows the command, and no signal.
async fn next(output: &Output, interaction: &mut Interaction) -> Result<Option<Event>, Error> {
    output.room().await;
    interaction.next().await
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

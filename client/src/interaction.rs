//! [`Interaction`]: a command that runs, with its stdin, signals and window sizes, seen through Interact.

use std::time::Instant;

use bytes::Bytes;
use remex::v1::{self, AttachRequest, WindowSize, interact_request::Message};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::{
    Attach, Client, Command, Error, Event, Signal,
    events::{Events, Next, Source},
    execution::{FIRST, next_reply},
    outgoing::Outgoing,
    position::Position,
    resumption::{Resumption, Retries},
    unaccepted::Unaccepted,
    window::Window,
};

/// Messages that wait to be sent, of stdin and of everything else each.
const QUEUE_MESSAGES: usize = 16;

/// A command that was started, or attached to, and is talked to. Dropping it is this caller's going away, which kills the
/// command unless [`Command::on_disconnect`] says otherwise.
#[derive(Debug)]
pub struct Interaction {
    /// Its stdin, to be taken. It ends when this is dropped.
    pub stdin: Option<Stdin>,
    id: String,
    control: Control,
    first: Option<Event>,
    events: Events,
    /// `None` unless stdin is sent at its positions.
    outgoing: Option<Outgoing>,
    /// Dropped at the end, which ends a write that waits.
    accepted: Option<watch::Sender<u64>>,
}

/// What a caller of Interact has in its hands, and what of it goes out.
struct Pipes {
    stdin: Stdin,
    control: Control,
    accepted: watch::Sender<u64>,
    outgoing: Outgoing,
}

impl Pipes {
    /// stdin goes on at `position`, up to which it has been sent. With `at_positions` it is sent so that whatever of it
    /// the execution has already is passed over.
    fn new(position: u64, at_positions: bool) -> Self {
        let (stdin, chunks) = mpsc::channel(QUEUE_MESSAGES);
        let (control, messages) = mpsc::channel(QUEUE_MESSAGES);
        let (accepted, told) = watch::channel(0);
        let unaccepted = at_positions.then(|| Unaccepted::from(position));
        Self {
            stdin: Stdin {
                chunks: stdin,
                position: told,
                window: Window::new(position, Instant::now()),
            },
            control: Control(control),
            accepted,
            outgoing: Outgoing::new(messages, chunks, unaccepted),
        }
    }

    /// stdin goes on where it has been accepted up to, whoever has written it.
    fn append(&mut self) {
        let position = *self.accepted.borrow();
        self.stdin.window = Window::new(position, Instant::now());
        self.outgoing.begin_at(position);
    }
}

impl Client {
    /// Starts `command` with its stdin open. Where it has been started before, under its
    /// [`request_id`](Command::request_id), it is joined: stdin is given from its first byte, and what the command has of it
    /// is passed over; on a terminal, what is typed comes behind what was typed before.
    pub async fn interact(&self, command: Command) -> Result<Interaction, Error> {
        let mut retries = Retries::new(command.resumes());
        loop {
            match self.interact_once(command.clone()).await {
                Err(error) => retries.again(error).await?,
                begun => return begun,
            }
        }
    }

    async fn interact_once(&self, command: Command) -> Result<Interaction, Error> {
        self.check_features(&command).await?;
        let (resumes, is_typed) = (command.resumes(), command.has_terminal());
        let position = command.stdin_bytes();
        let mut pipes = Pipes::new(position, command.has_request_id());
        let request: v1::StartRequest = command.into();
        let request_id = request.request_id.clone();
        let start = Message::Start(Box::new(request));
        let requests = pipes.outgoing.begin(start);
        let mut source = Source::Interact(self.exec().interact(requests).await?.into_inner());
        loop {
            let reply = next_reply(&mut source).await?;
            let accepted = reply.accepted.unwrap_or(0);
            pipes.accepted.send_replace(accepted);
            let Some(event) = reply.event else {
                continue;
            };
            if let Some((id, first)) = self.begun(event, &request_id).await? {
                if is_typed && accepted > position {
                    pipes.append();
                }
                let attach = AttachRequest {
                    execution_id: id,
                    ..AttachRequest::default()
                };
                let events =
                    |resumption| Events::started(source, Position::after(FIRST), resumption);
                let mut interaction = self.talk(pipes, attach, resumes, events);
                if let Event::Exited(_) = first {
                    interaction.end();
                }
                interaction.first = Some(first);
                return Ok(interaction);
            }
        }
    }

    /// Joins an execution that outlives its callers, as [`Self::attach`] does, and talks to it: stdin goes on where it has
    /// been accepted up to, which [`Stdin::accepted`] tells.
    pub async fn attach_interactive(&self, attach: Attach) -> Result<Interaction, Error> {
        let (attach, resumes) = attach.into_request();
        let mut retries = Retries::new(resumes);
        loop {
            match self.attach_interactive_once(attach.clone(), resumes).await {
                Err(error) => retries.again(error).await?,
                joined => return joined,
            }
        }
    }

    async fn attach_interactive_once(
        &self,
        attach: AttachRequest,
        resumes: bool,
    ) -> Result<Interaction, Error> {
        let record = self.get(attach.execution_id.clone()).await?;
        let pipes = Pipes::new(record.stdin_accepted_bytes, resumes);
        pipes.accepted.send_replace(record.stdin_accepted_bytes);
        let after = attach.after_sequence;
        let resumption = self.resumption(&pipes, attach.clone());
        let source = resumption.open(after).await?;
        let events = |resumption| Events::attached(source, Position::after(after), resumption);
        Ok(self.talk(pipes, attach, resumes, events))
    }

    fn resumption(&self, pipes: &Pipes, attach: AttachRequest) -> Resumption {
        Resumption {
            client: self.clone(),
            attach,
            outgoing: Some(pipes.outgoing.clone()),
        }
    }

    fn talk(
        &self,
        pipes: Pipes,
        attach: AttachRequest,
        resumes: bool,
        events: impl FnOnce(Option<Resumption>) -> Events,
    ) -> Interaction {
        let id = attach.execution_id.clone();
        let resumption = resumes.then(|| self.resumption(&pipes, attach));
        let keeps = pipes.outgoing.keeps_unaccepted();
        Interaction {
            stdin: Some(pipes.stdin),
            id,
            control: pipes.control,
            first: None,
            events: events(resumption),
            outgoing: keeps.then_some(pipes.outgoing),
            accepted: Some(pipes.accepted),
        }
    }
}

impl Interaction {
    /// The id that the server gave the execution, as [`Execution::id`](crate::Execution::id) has it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A handle for signals and window sizes.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The sequence of the last event that [`Self::next`] gave: whoever [attaches](Attach::after) behind it misses nothing.
    pub fn position(&self) -> u64 {
        if self.first.is_some() {
            0
        } else {
            self.events.sequence()
        }
    }

    /// The next event; `None` after [`Event::Exited`], or where the position to attach from was the end. Cancel-safe. As
    /// long as this is not called, [`Stdin::write`] waits once as much is on its way as may be:
    /// [`STDIN_WINDOW_BYTES`](crate::STDIN_WINDOW_BYTES) at first.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while let Some(accepted) = &self.accepted {
            let reply = match self.events.next().await {
                Ok(Next::Reply(reply)) => reply,
                Ok(Next::Lost(error)) => {
                    let why = error.to_string();
                    return Ok(Some(Event::Interrupted { why }));
                }
                Ok(Next::Resumed) => return Ok(Some(Event::Resumed)),
                Ok(Next::Over) => {
                    self.end();
                    break;
                }
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            };
            if let Some(position) = reply.accepted {
                accepted.send_replace(position);
                if let Some(outgoing) = &self.outgoing {
                    outgoing.accepted(position);
                }
            }
            if let Some(event) = reply.event.and_then(Event::of) {
                if let Event::Exited(_) = event {
                    self.end();
                }
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Nothing more comes, and nothing more is sent.
    fn end(&mut self) {
        self.accepted = None;
        self.outgoing = None;
        self.events.end();
    }
}

/// The call is over, so nothing more can be sent; its events say how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the execution, or the connection to it, has ended")]
pub struct Ended;

/// The stdin of a command. It ends when this is dropped.
#[derive(Debug)]
pub struct Stdin {
    chunks: mpsc::Sender<Bytes>,
    position: watch::Receiver<u64>,
    window: Window,
}

impl Stdin {
    /// Position up to which the server has accepted stdin, counted from its first byte, whoever wrote it.
    pub fn accepted(&self) -> u64 {
        *self.position.borrow()
    }

    /// Sends `data`, waiting whenever as much is on its way as may be: [`STDIN_WINDOW_BYTES`](crate::STDIN_WINDOW_BYTES),
    /// and up to [`MAX_STDIN_WINDOW_BYTES`](crate::MAX_STDIN_WINDOW_BYTES) for a command that reads fast. What the command
    /// does not read before it ends is discarded.
    pub async fn write(&mut self, data: impl Into<Bytes>) -> Result<(), Ended> {
        let mut data = data.into();
        while !data.is_empty() {
            let accepted = *self.position.borrow_and_update();
            self.window.accepted(accepted, Instant::now());
            let room = self.window.room().min(data.len());
            if room == 0 {
                self.position.changed().await.map_err(|_| Ended)?;
                continue;
            }
            let permit = self.chunks.reserve().await.map_err(|_| Ended)?;
            permit.send(data.split_to(room));
            self.window.sent(room, Instant::now());
        }
        Ok(())
    }
}

/// Sends signals and window sizes. They overtake stdin that waits to be sent.
#[derive(Debug, Clone)]
pub struct Control(mpsc::Sender<Message>);

impl Control {
    /// Sends `signal` to the command.
    pub async fn signal(&self, signal: Signal) -> Result<(), Ended> {
        let message = Message::Signal(signal.number().into());
        self.0.send(message).await.map_err(|_| Ended)
    }

    /// Sets the size of the command's terminal, in character cells.
    pub async fn resize(&self, rows: u16, columns: u16) -> Result<(), Ended> {
        let (rows, columns) = (rows.into(), columns.into());
        let message = Message::Resize(WindowSize { rows, columns });
        self.0.send(message).await.map_err(|_| Ended)
    }
}

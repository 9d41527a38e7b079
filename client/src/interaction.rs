//! [`Interaction`]: a command that runs, with its stdin, signals and window sizes, seen through Interact.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use remex::v1::{
    InteractRequest, InteractResponse, StartRequest, StdinChunk, WindowSize,
    interact_request::Message,
};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tonic::Streaming;

use crate::{Client, Command, Error, Event, Signal, execution::started, window::Window};

/// Messages that wait to be sent, of stdin and of everything else each.
const QUEUE_MESSAGES: usize = 16;

/// A command that was started and is talked to. Dropping it is this caller's going away, which kills the command.
#[derive(Debug)]
pub struct Interaction {
    /// Its stdin, to be taken. It ends when this is dropped.
    pub stdin: Option<Stdin>,
    id: String,
    control: Control,
    first: Option<Event>,
    events: Streaming<InteractResponse>,
    /// Dropped at the end, which ends a write that waits.
    accepted: Option<watch::Sender<u64>>,
}

impl Client {
    /// Starts `command` with its stdin open.
    pub async fn interact(&self, command: Command) -> Result<Interaction, Error> {
        self.check_features(&command).await?;
        let sent = command.stdin_bytes();
        let (stdin, chunks) = mpsc::channel(QUEUE_MESSAGES);
        let (control, messages) = mpsc::channel(QUEUE_MESSAGES);
        let requests = Requests {
            start: Some(Box::new(command.into())),
            messages,
            chunks: Some(chunks),
        };
        let mut events = self.exec().interact(requests).await?.into_inner();
        let (accepted, position) = watch::channel(0);
        loop {
            let response = events.message().await?.ok_or(Error::Incomplete)?;
            accepted.send_replace(response.stdin_accepted_bytes);
            if let Some((id, first)) = response.event.and_then(started) {
                return Ok(Interaction {
                    stdin: Some(Stdin {
                        chunks: stdin,
                        position,
                        window: Window::new(sent, Instant::now()),
                    }),
                    id,
                    control: Control(control),
                    first: Some(first),
                    events,
                    accepted: Some(accepted),
                });
            }
        }
    }
}

impl Interaction {
    /// The id that the server gave the execution.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A handle for signals and window sizes.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The next event; `None` after [`Event::Exited`]. Cancel-safe. As long as this is not called, [`Stdin::write`] waits
    /// once as much is on its way as may be: [`STDIN_WINDOW_BYTES`](crate::STDIN_WINDOW_BYTES) at first.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while let Some(accepted) = &self.accepted {
            let response = self.events.message().await?.ok_or(Error::Incomplete)?;
            accepted.send_replace(response.stdin_accepted_bytes);
            if let Some(event) = response.event.and_then(Event::of) {
                if let Event::Exited(_) = event {
                    self.accepted = None;
                }
                return Ok(Some(event));
            }
        }
        Ok(None)
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

/// What goes out: the start, then control messages before stdin. The end of stdin is said, so that signals can follow.
struct Requests {
    start: Option<Box<StartRequest>>,
    messages: mpsc::Receiver<Message>,
    chunks: Option<mpsc::Receiver<Bytes>>,
}

impl Requests {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Message::Start(start)));
        }
        let messages = self.messages.poll_recv(cx);
        if let Poll::Ready(Some(_)) = &messages {
            return messages;
        }
        let Some(chunks) = &mut self.chunks else {
            return messages;
        };
        chunks.poll_recv(cx).map(|data| {
            let eof = data.is_none();
            if eof {
                self.chunks = None;
            }
            Some(Message::StdinChunk(StdinChunk {
                data: data.unwrap_or_default(),
                eof,
                ..StdinChunk::default()
            }))
        })
    }
}

impl Stream for Requests {
    type Item = InteractRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<InteractRequest>> {
        self.poll_message(cx).map(|message| {
            message.map(|message| InteractRequest {
                message: Some(message),
            })
        })
    }
}

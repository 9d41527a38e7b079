//! What a caller sends over Interact: the start, or the attach, then control messages before stdin. It outlives the
//! connection where an execution is to be taken up again over another one.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use remex::v1::{InteractRequest, StdinChunk, interact_request::Message};
use tokio::sync::mpsc;
use tokio_stream::Stream;

use crate::unaccepted::{Piece, Unaccepted};

/// What is to be sent; its clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// What this connection is still to begin with, the last first.
    first: Vec<Message>,
    /// The last window size, which another connection may have lost.
    size: Option<Message>,
    control: mpsc::Receiver<Message>,
    /// `None` once stdin has ended.
    chunks: Option<mpsc::Receiver<Bytes>>,
    /// What is kept to be sent again; `None` where that is not wanted.
    unaccepted: Option<Unaccepted>,
    /// Counts connections: an earlier one gets nothing any more, not even an end, which would be that of stdin.
    connection: u64,
}

impl Outgoing {
    /// With `unaccepted`, stdin is sent at its positions, and kept until it is accepted.
    pub(crate) fn new(
        control: mpsc::Receiver<Message>,
        chunks: mpsc::Receiver<Bytes>,
        unaccepted: Option<Unaccepted>,
    ) -> Self {
        Self(Arc::new(Mutex::new(State {
            first: Vec::new(),
            size: None,
            control,
            chunks: Some(chunks),
            unaccepted,
            connection: 0,
        })))
    }

    /// What goes over a new connection, which begins with `first`.
    pub(crate) fn begin(&self, first: Message) -> Requests {
        let mut state = self.lock();
        state.connection += 1;
        state.first = state.size.clone().into_iter().chain([first]).collect();
        if let Some(unaccepted) = &mut state.unaccepted {
            unaccepted.rewind();
        }
        let connection = state.connection;
        drop(state);
        let outgoing = self.clone();
        Requests {
            outgoing,
            connection,
        }
    }

    /// stdin begins at `position`; said before any of it is sent.
    pub(crate) fn begin_at(&self, position: u64) {
        if let Some(unaccepted) = &mut self.lock().unaccepted {
            *unaccepted = Unaccepted::from(position);
        }
    }

    /// Whether stdin is sent at its positions, and kept until it is accepted.
    pub(crate) fn keeps_unaccepted(&self) -> bool {
        self.lock().unaccepted.is_some()
    }

    /// Notes the server's position in stdin.
    pub(crate) fn accepted(&self, position: u64) {
        if let Some(unaccepted) = &mut self.lock().unaccepted {
            unaccepted.accepted(position);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if let Some(first) = self.first.pop() {
            return Poll::Ready(Some(first));
        }
        let control = self.control.poll_recv(cx);
        if let Poll::Ready(Some(message)) = &control {
            if let Message::Resize(_) = message {
                self.size = Some(message.clone());
            }
            return control;
        }
        match self.poll_stdin(cx) {
            Poll::Ready(chunk) => Poll::Ready(Some(Message::StdinChunk(chunk))),
            // All senders of control messages have gone, and stdin has ended.
            Poll::Pending if self.chunks.is_none() => control,
            Poll::Pending => Poll::Pending,
        }
    }

    /// Pending for ever once its end was sent.
    fn poll_stdin(&mut self, cx: &mut Context<'_>) -> Poll<StdinChunk> {
        let again = self.unaccepted.as_mut().and_then(Unaccepted::next);
        if let Some(piece) = again {
            return Poll::Ready(piece.into());
        }
        let Some(chunks) = &mut self.chunks else {
            return Poll::Pending;
        };
        let Poll::Ready(data) = chunks.poll_recv(cx) else {
            return Poll::Pending;
        };
        let eof = data.is_none();
        if eof {
            self.chunks = None;
        }
        let Some(unaccepted) = &mut self.unaccepted else {
            return Poll::Ready(StdinChunk {
                data: data.unwrap_or_default(),
                eof,
                ..StdinChunk::default()
            });
        };
        match data {
            Some(data) => unaccepted.push(data),
            None => unaccepted.end(),
        }
        match unaccepted.next() {
            Some(piece) => Poll::Ready(piece.into()),
            None => Poll::Pending,
        }
    }
}

impl From<Piece> for StdinChunk {
    fn from(piece: Piece) -> Self {
        Self {
            offset: Some(piece.offset),
            data: piece.data,
            eof: piece.eof,
            ..Self::default()
        }
    }
}

/// What goes over one connection.
pub(crate) struct Requests {
    outgoing: Outgoing,
    connection: u64,
}

impl Stream for Requests {
    type Item = InteractRequest;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<InteractRequest>> {
        let mut state = self.outgoing.lock();
        if state.connection != self.connection {
            return Poll::Pending;
        }
        state.poll_message(cx).map(|message| {
            message.map(|message| InteractRequest {
                message: Some(message),
            })
        })
    }
}

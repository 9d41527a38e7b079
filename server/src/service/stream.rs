//! A response stream: an execution's items as messages, with something sent now and then in silence.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use remex::v1;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Sleep, sleep},
};
use tonic::Status;

use super::reply;
use crate::supervisor::{event::Kind, sink::Item};

/// A message of a response stream.
pub trait Message: Sized {
    /// Of an event, or of none.
    fn new(event: Option<v1::Event>, stdin_accepted_bytes: u64) -> Self;
}

impl Message for v1::StartResponse {
    fn new(event: Option<v1::Event>, _: u64) -> Self {
        Self { event }
    }
}

impl Message for v1::InteractResponse {
    fn new(event: Option<v1::Event>, stdin_accepted_bytes: u64) -> Self {
        Self {
            event,
            stdin_accepted_bytes,
            refused: None,
        }
    }
}

/// The events of one execution as `M`.
pub struct Events<M> {
    id: String,
    text: bool,
    items: mpsc::Receiver<Item>,
    /// What the caller did wrong on its side of the call.
    failure: Option<oneshot::Receiver<Status>>,
    keepalive: Option<(Duration, Pin<Box<Sleep>>)>,
    stdin_accepted: u64,
    exited: bool,
    message: std::marker::PhantomData<fn() -> M>,
}

impl<M: Message> Events<M> {
    pub(super) fn new(
        id: String,
        text: bool,
        items: mpsc::Receiver<Item>,
        keepalive: Option<Duration>,
    ) -> Self {
        Self {
            id,
            text,
            items,
            failure: None,
            keepalive: keepalive.map(|interval| (interval, Box::pin(sleep(interval)))),
            stdin_accepted: 0,
            exited: false,
            message: std::marker::PhantomData,
        }
    }

    /// Ends with the status that `failure` brings, if it brings one.
    pub(super) fn failing_with(mut self, failure: oneshot::Receiver<Status>) -> Self {
        self.failure = Some(failure);
        self
    }

    fn item(&mut self, item: Item) -> M {
        self.stdin_accepted = item.stdin_accepted;
        if let Some(event) = &item.event {
            self.exited = matches!(event.kind, Kind::Exited(_));
        }
        let event = item
            .event
            .map(|event| reply::event(&self.id, event, self.text));
        M::new(event, self.stdin_accepted)
    }

    fn poll_failure(&mut self, context: &mut Context<'_>) -> Option<Status> {
        let failure = self.failure.as_mut()?;
        match Pin::new(failure).poll(context) {
            Poll::Pending => None,
            Poll::Ready(result) => {
                self.failure = None;
                result.ok()
            }
        }
    }
}

impl<M: Message> Stream for Events<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.exited {
            return Poll::Ready(None);
        }
        if let Some(status) = self.poll_failure(context) {
            self.exited = true;
            return Poll::Ready(Some(Err(status)));
        }
        if let Poll::Ready(item) = self.items.poll_recv(context) {
            let Some(item) = item else {
                self.exited = true;
                let lost = Status::internal("the execution's supervision ended before it did");
                return Poll::Ready(Some(Err(lost)));
            };
            let message = self.item(item);
            if let Some((interval, sleep)) = &mut self.keepalive {
                sleep.as_mut().reset(Instant::now() + *interval);
            }
            return Poll::Ready(Some(Ok(message)));
        }
        let accepted = self.stdin_accepted;
        let Some((interval, sleep)) = &mut self.keepalive else {
            return Poll::Pending;
        };
        ready!(sleep.as_mut().poll(context));
        sleep.as_mut().reset(Instant::now() + *interval);
        Poll::Ready(Some(Ok(M::new(None, accepted))))
    }
}

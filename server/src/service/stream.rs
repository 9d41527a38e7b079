//! A response stream: an execution's items as messages, with something sent now and then in silence.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::Stream;
use remex::v1;
use remex_supervisor::lifecycle::{
    counters::Counters,
    event::{Event, EventKind},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Sleep, sleep},
};
use tonic::Status;

use super::{reply, status};
use crate::execution::{Cut, Execution, Items, Told};

/// A message of a response stream.
pub trait Message: Sized {
    /// Of an event, or of none.
    fn new(event: Option<v1::Event>, stdin_accepted_bytes: u64) -> Self;

    /// Of a message that was not carried out; `None`: there are none in such a stream.
    fn refused(refused: v1::Refused, stdin_accepted_bytes: u64) -> Option<Self>;
}

impl Message for v1::StartResponse {
    fn new(event: Option<v1::Event>, _: u64) -> Self {
        Self { event }
    }

    fn refused(_: v1::Refused, _: u64) -> Option<Self> {
        None
    }
}

impl Message for v1::AttachResponse {
    fn new(event: Option<v1::Event>, _: u64) -> Self {
        Self { event }
    }

    fn refused(_: v1::Refused, _: u64) -> Option<Self> {
        None
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

    fn refused(refused: v1::Refused, stdin_accepted_bytes: u64) -> Option<Self> {
        Some(Self {
            event: None,
            stdin_accepted_bytes,
            refused: Some(refused),
        })
    }
}

/// The events of one execution as `M`.
pub struct Events<M> {
    id: String,
    text: bool,
    items: Items,
    /// What the caller did wrong on its side of the call.
    failure: Option<oneshot::Receiver<Status>>,
    /// Its messages that were not carried out.
    refusals: Option<mpsc::Receiver<v1::Refused>>,
    keepalive: Option<(Duration, Pin<Box<Sleep>>)>,
    counters: Arc<Counters>,
    exited: bool,
    message: std::marker::PhantomData<fn() -> M>,
}

impl<M: Message> Events<M> {
    pub(super) fn new(
        execution: &Execution,
        text: bool,
        items: Items,
        keepalive: Option<Duration>,
    ) -> Self {
        Self {
            id: execution.id.to_string(),
            text,
            items,
            failure: None,
            refusals: None,
            keepalive: keepalive.map(|interval| (interval, Box::pin(sleep(interval)))),
            counters: Arc::clone(&execution.counters),
            exited: false,
            message: std::marker::PhantomData,
        }
    }

    /// Ends with the status that `failure` brings, if it brings one, and tells of `refusals` meanwhile.
    pub(super) fn with_replies(
        mut self,
        failure: oneshot::Receiver<Status>,
        refusals: mpsc::Receiver<v1::Refused>,
    ) -> Self {
        self.failure = Some(failure);
        self.refusals = Some(refusals);
        self
    }

    fn told(&mut self, told: Result<Told, Cut>) -> Result<M, Status> {
        let told = told.map_err(|cut| {
            self.exited = true;
            status::cut(&cut)
        })?;
        match &told {
            Told::Event(Event {
                kind: EventKind::Exited(exit),
                ..
            }) => {
                self.exited = true;
                status::complete(exit)?;
            }
            Told::Lost { .. } => self.exited = true,
            Told::Event(_) | Told::Gap(_) | Told::StdinAccepted => {}
        }
        let event = reply::told(&self.id, told, self.text);
        Ok(M::new(event, self.stdin_accepted()))
    }

    /// Up to which position stdin has been accepted by now, whatever a message has waited for.
    fn stdin_accepted(&self) -> u64 {
        self.counters.stdin_accepted()
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

impl<M: Message> Events<M> {
    fn poll_refused(&mut self, context: &mut Context<'_>) -> Option<M> {
        let refusals = self.refusals.as_mut()?;
        match refusals.poll_recv(context) {
            Poll::Pending => None,
            Poll::Ready(Some(refused)) => M::refused(refused, self.stdin_accepted()),
            Poll::Ready(None) => {
                self.refusals = None;
                None
            }
        }
    }

    fn put_off_keepalive(&mut self) {
        if let Some((interval, sleep)) = &mut self.keepalive {
            sleep.as_mut().reset(Instant::now() + *interval);
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
        if let Some(message) = self.poll_refused(context) {
            self.put_off_keepalive();
            return Poll::Ready(Some(Ok(message)));
        }
        if let Poll::Ready(told) = self.items.poll_next(context) {
            let Some(told) = told else {
                // That was all there is for one who does not follow, or who has everything.
                self.exited = true;
                return Poll::Ready(None);
            };
            let message = self.told(told);
            self.put_off_keepalive();
            return Poll::Ready(Some(message));
        }
        let accepted = self.stdin_accepted();
        let Some((interval, sleep)) = &mut self.keepalive else {
            return Poll::Pending;
        };
        ready!(sleep.as_mut().poll(context));
        sleep.as_mut().reset(Instant::now() + *interval);
        Poll::Ready(Some(Ok(M::new(None, accepted))))
    }
}

//! The events of an execution, over one connection, or, where that is asked for, over as many as it takes: a lost one is
//! followed by another, at the exact next event.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use remex::{
    error::Reason,
    v1::{
        self, AttachRequest, AttachResponse, InteractResponse, StartResponse,
        interact_request::Message,
    },
};
use tokio::time::{Instant, sleep};
use tonic::Streaming;

use crate::{
    Client, Error, outgoing::Outgoing, position::Position, transport::pause_after_failures,
};

/// How long a lost server is looked for by what rides through lost connections. By then a command is ended, unless it runs on
/// without its callers; its outcome is still there for [`Client::attach`](crate::Client::attach).
pub const RESUME_TIMEOUT: Duration = Duration::from_mins(10);

/// Decides whether, and when, a call is made again.
#[derive(Debug)]
pub(crate) struct Tries {
    begun: Instant,
    failures: u32,
    rides: bool,
}

impl Tries {
    /// If it `rides`; else the first failure is the last.
    pub(crate) fn new(rides: bool) -> Self {
        Self {
            begun: Instant::now(),
            failures: 0,
            rides,
        }
    }

    /// Waits until it is time for another try after `error`; gives that back if there is to be none.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        if !self.rides || !error.is_lost() || self.begun.elapsed() >= RESUME_TIMEOUT {
            return Err(error);
        }
        sleep(pause_after_failures(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
        Ok(())
    }
}

/// The stream of a call.
#[derive(Debug)]
pub(crate) enum Source {
    Start(Streaming<StartResponse>),
    Attach(Streaming<AttachResponse>),
    Interact(Streaming<InteractResponse>),
}

/// What comes of it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) event: Option<v1::Event>,
    /// Position in stdin up to which it has been accepted.
    pub(crate) accepted: Option<u64>,
}

impl Source {
    /// The next message; `None` at the stream's end. Cancel-safe.
    pub(crate) async fn told(&mut self) -> Result<Option<Told>, Error> {
        Ok(match self {
            Self::Start(stream) => stream.message().await?.map(|message| Told {
                event: message.event,
                accepted: None,
            }),
            Self::Attach(stream) => stream.message().await?.map(|message| Told {
                event: message.event,
                accepted: None,
            }),
            Self::Interact(stream) => stream.message().await?.map(|message| Told {
                event: message.event,
                accepted: Some(message.stdin_accepted_bytes),
            }),
        })
    }
}

/// How an execution is taken up again.
#[derive(Clone)]
pub(crate) struct Ride {
    pub(crate) client: Client,
    pub(crate) attach: AttachRequest,
    /// What is sent to it, if it is talked to.
    pub(crate) outgoing: Option<Outgoing>,
}

impl Ride {
    /// One call that goes on behind `after_sequence`.
    pub(crate) async fn open(&self, after_sequence: u64) -> Result<Source, Error> {
        let attach = AttachRequest {
            after_sequence,
            ..self.attach.clone()
        };
        let mut exec = self.client.exec();
        Ok(match &self.outgoing {
            Some(outgoing) => {
                let requests = outgoing.begin(Message::Attach(attach));
                Source::Interact(exec.interact(requests).await?.into_inner())
            }
            None => Source::Attach(exec.attach(attach).await?.into_inner()),
        })
    }

    /// As many calls as it takes.
    async fn reopen(self, after_sequence: u64, failures: u32) -> Result<Source, Error> {
        let mut tries = Tries::new(true);
        tries.failures = failures;
        let mut after_sequence = after_sequence;
        sleep(pause_after_failures(failures)).await;
        loop {
            match self.open(after_sequence).await {
                // From the beginning then, which says what is missing.
                Err(error) if is_gone(&error) && after_sequence > 0 => after_sequence = 0,
                Err(error) => tries.again(error).await?,
                opened => return opened,
            }
        }
    }
}

fn is_gone(error: &Error) -> bool {
    error.reason() == Some(Reason::PositionGone)
}

/// Events, and how far they were told.
#[derive(Debug)]
pub(crate) struct Events {
    link: Link,
    position: Position,
    /// It was attached to: then the stream ends well where nothing more is to be told.
    is_attached: bool,
    /// `None`: over one connection alone.
    ride: Option<Ride>,
    /// Connections that were lost before anything came of them.
    failures: u32,
}

#[derive(Debug)]
enum Link {
    Up(Box<Source>),
    Opening(Opening),
    Over,
}

/// What happens next.
#[derive(Debug)]
pub(crate) enum Next {
    Told(Told),
    /// The connection was lost, and another one is looked for.
    Lost(Error),
    /// It was found.
    Resumed,
    /// Nothing more is to be told.
    Over,
}

impl Events {
    /// Of an execution that was started by this call.
    pub(crate) fn started(source: Source, position: Position, ride: Option<Ride>) -> Self {
        Self {
            link: Link::Up(Box::new(source)),
            position,
            is_attached: false,
            ride,
            failures: 0,
        }
    }

    /// Of one that was attached to.
    pub(crate) fn attached(source: Source, position: Position, ride: Option<Ride>) -> Self {
        Self {
            is_attached: true,
            ..Self::started(source, position, ride)
        }
    }

    /// The sequence of the last event.
    pub(crate) fn sequence(&self) -> u64 {
        self.position.sequence()
    }

    /// What happens next. Cancel-safe: nothing is lost if this is dropped.
    pub(crate) async fn next(&mut self) -> Result<Next, Error> {
        match &mut self.link {
            Link::Up(source) => match source.told().await {
                Ok(Some(told)) => {
                    self.failures = 0;
                    let event = told.event.and_then(|event| self.position.take(event));
                    Ok(Next::Told(Told { event, ..told }))
                }
                Ok(None) if self.is_attached => {
                    self.end();
                    Ok(Next::Over)
                }
                Ok(None) => self.lost(Error::Incomplete),
                Err(error) => self.lost(error),
            },
            Link::Opening(opening) => {
                let opening = opening.0.get_mut().unwrap_or_else(PoisonError::into_inner);
                match opening.await {
                    Ok(source) => {
                        self.link = Link::Up(Box::new(source));
                        self.is_attached = true;
                        Ok(Next::Resumed)
                    }
                    Err(error) => {
                        self.end();
                        Err(error)
                    }
                }
            }
            Link::Over => Ok(Next::Over),
        }
    }

    fn lost(&mut self, error: Error) -> Result<Next, Error> {
        let ride = self.ride.clone().filter(|_| error.is_lost());
        let Some(ride) = ride else {
            self.end();
            return Err(error);
        };
        let reopened = ride.reopen(self.position.sequence(), self.failures);
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Opening(Opening(Mutex::new(Box::pin(reopened))));
        Ok(Next::Lost(error))
    }

    /// No more will be asked for.
    pub(crate) fn end(&mut self) {
        self.link = Link::Over;
        self.ride = None;
    }
}

/// A connection that is looked for. The mutex is never locked: it lets an execution be shared among threads.
struct Opening(Mutex<OpenFuture>);

type OpenFuture = Pin<Box<dyn Future<Output = Result<Source, Error>> + Send>>;

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl fmt::Debug for Ride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.attach.execution_id;
        f.debug_struct("Ride")
            .field("execution_id", id)
            .finish_non_exhaustive()
    }
}

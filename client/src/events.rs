//! The events of an execution, over one connection, or, where that is asked for, over as many as it takes: a lost one is
//! followed by another, at the exact next event.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
};

use remex::v1::{self, AttachResponse, InteractResponse, StartResponse};
use tonic::Streaming;

use crate::{Error, position::Position, resumption::Resumption};

/// The stream of a call.
#[derive(Debug)]
pub(crate) enum Source {
    Start(Streaming<StartResponse>),
    Attach(Streaming<AttachResponse>),
    Interact(Streaming<InteractResponse>),
}

/// A message of it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) event: Option<v1::Event>,
    /// Position in stdin up to which it has been accepted; `None` on a call that does not tell.
    pub(crate) accepted: Option<u64>,
}

impl Source {
    /// The next message; `None` at the stream's end. Cancel-safe.
    pub(crate) async fn reply(&mut self) -> Result<Option<Reply>, Error> {
        Ok(match self {
            Self::Start(stream) => stream.message().await?.map(|message| Reply {
                event: message.event,
                accepted: None,
            }),
            Self::Attach(stream) => stream.message().await?.map(|message| Reply {
                event: message.event,
                accepted: None,
            }),
            Self::Interact(stream) => stream.message().await?.map(|message| Reply {
                event: message.event,
                accepted: Some(message.stdin_accepted_bytes),
            }),
        })
    }
}

/// Events, and how far they have come.
#[derive(Debug)]
pub(crate) struct Events {
    link: Link,
    position: Position,
    /// The stream of an attach ends well where nothing more is to come.
    is_attached: bool,
    /// `None`: over one connection alone.
    resumption: Option<Resumption>,
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
    Reply(Reply),
    /// The connection was lost, and another one is looked for.
    Lost(Error),
    /// It was found.
    Resumed,
    /// Nothing more is to come.
    Over,
}

impl Events {
    /// Of an execution that was started by this call.
    pub(crate) fn started(
        source: Source,
        position: Position,
        resumption: Option<Resumption>,
    ) -> Self {
        Self {
            link: Link::Up(Box::new(source)),
            position,
            is_attached: false,
            resumption,
            failures: 0,
        }
    }

    /// Of one that was attached to.
    pub(crate) fn attached(
        source: Source,
        position: Position,
        resumption: Option<Resumption>,
    ) -> Self {
        Self {
            is_attached: true,
            ..Self::started(source, position, resumption)
        }
    }

    /// The sequence of the last event.
    pub(crate) fn sequence(&self) -> u64 {
        self.position.sequence()
    }

    /// What happens next. Cancel-safe: nothing is lost if this is dropped.
    pub(crate) async fn next(&mut self) -> Result<Next, Error> {
        match &mut self.link {
            Link::Up(source) => match source.reply().await {
                Ok(Some(reply)) => {
                    self.failures = 0;
                    let event = reply.event.and_then(|event| self.position.take(event));
                    Ok(Next::Reply(Reply { event, ..reply }))
                }
                Ok(None) if self.is_attached => {
                    self.end();
                    Ok(Next::Over)
                }
                Ok(None) => self.lost(Error::Incomplete),
                Err(error) => self.lost(error),
            },
            Link::Opening(opening) => match opening.get().await {
                Ok(source) => {
                    self.link = Link::Up(Box::new(source));
                    self.is_attached = true;
                    Ok(Next::Resumed)
                }
                Err(error) => {
                    self.end();
                    Err(error)
                }
            },
            Link::Over => Ok(Next::Over),
        }
    }

    fn lost(&mut self, error: Error) -> Result<Next, Error> {
        let resumption = self.resumption.clone().filter(|_| error.is_lost());
        let Some(resumption) = resumption else {
            self.end();
            return Err(error);
        };
        let reopened = resumption.reopen(self.position.sequence(), self.failures);
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Opening(Opening(Mutex::new(Box::pin(reopened))));
        Ok(Next::Lost(error))
    }

    /// No more will be asked for.
    pub(crate) fn end(&mut self) {
        self.link = Link::Over;
        self.resumption = None;
    }
}

/// A connection that is looked for. The mutex is never locked: it lets an execution be shared among threads.
struct Opening(Mutex<OpenFuture>);

type OpenFuture = Pin<Box<dyn Future<Output = Result<Source, Error>> + Send>>;

impl Opening {
    fn get(&mut self) -> &mut OpenFuture {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

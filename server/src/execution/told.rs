//! What a caller who reads along is told, whichever way its execution is hosted.

use std::task::{Context, Poll, ready};

use remex_supervisor::{
    journal::Gap,
    lifecycle::{event::Event, outlet::Item},
};
use tokio::sync::mpsc;

use super::EndRecord;
use crate::durable::seats::Seat;

/// One thing that a reader is told.
#[derive(Debug)]
pub enum Told {
    /// What happened.
    Event(Event),
    /// Nobody saw the end, which this event stands for.
    Lost {
        /// Its number.
        sequence: u64,
        /// What is known of the end.
        end: EndRecord,
    },
    /// Events that are not kept.
    Gap(Gap),
    /// stdin was accepted.
    StdinAccepted,
}

/// Why a reader is told nothing any more before the execution has ended.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// The server goes. The execution goes on, or was killed with its supervision.
    #[error(
        "the server is shutting down; the execution runs on, attach to it again when the server is back"
    )]
    Draining,
    /// What hosted it has failed.
    #[error("the execution's supervision ended before it did")]
    HostLost,
    /// What is kept of it cannot be read.
    #[error("what is kept of the execution cannot be read: {0}")]
    Unreadable(String),
}

/// The events of one execution, as one reader gets them. Dropped, the reader has gone.
#[derive(Debug)]
pub struct Items(Source);

#[derive(Debug)]
enum Source {
    Attached(mpsc::Receiver<Item>),
    Durable {
        told: mpsc::Receiver<Result<Told, Cut>>,
        seat: Seat,
    },
}

impl Items {
    /// Of an engine in this process.
    pub fn attached(items: mpsc::Receiver<Item>) -> Self {
        Self(Source::Attached(items))
    }

    /// Of a journal; `seat` is the reader's place.
    pub fn durable(told: mpsc::Receiver<Result<Told, Cut>>, seat: Seat) -> Self {
        Self(Source::Durable { told, seat })
    }

    /// The next; `None`: that was all.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Told, Cut>>> {
        match &mut self.0 {
            Source::Attached(items) => {
                let item = ready!(items.poll_recv(context));
                let told = item.map(|item| item.event.map_or(Told::StdinAccepted, Told::Event));
                // Its last event ends the reading: nothing is asked for behind it.
                Poll::Ready(Some(told.ok_or(Cut::HostLost)))
            }
            Source::Durable { told, seat } => {
                let next = ready!(told.poll_recv(context));
                if let Some(Ok(told)) = &next
                    && let Some(sequence) = told.sequence()
                {
                    seat.sent(sequence);
                }
                Poll::Ready(next)
            }
        }
    }

    /// As [`Self::poll_next`].
    pub async fn next(&mut self) -> Option<Result<Told, Cut>> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

impl Told {
    /// The last event that it stands for.
    pub fn sequence(&self) -> Option<u64> {
        match self {
            Self::Event(event) => Some(event.sequence),
            Self::Lost { sequence, .. } => Some(*sequence),
            Self::Gap(gap) => Some(gap.sequence),
            Self::StdinAccepted => None,
        }
    }
}

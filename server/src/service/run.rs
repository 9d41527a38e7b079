//! Run's answer, as a stream of one message: the response's headers leave when the command has been started, so that nobody
//! who retries until then has it run twice.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use remex::v1::RunResponse;
use tonic::Status;

use crate::budget::Share;

/// What is answered when the command has ended, with the memory that the answer takes.
type Answer = Result<(RunResponse, Share), Status>;

/// A stream of one message. Its memory is given back when the next is asked for, which is when this one has left.
pub struct OneAnswer {
    answer: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    share: Option<Share>,
}

impl OneAnswer {
    /// The stream of what `answer` comes to.
    pub(super) fn new(answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self {
            answer: Some(Box::pin(answer)),
            share: None,
        }
    }
}

impl fmt::Debug for OneAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_answered = self.answer.is_none();
        f.debug_struct("OneAnswer")
            .field("is_answered", &is_answered)
            .finish_non_exhaustive()
    }
}

impl Stream for OneAnswer {
    type Item = Result<RunResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(answer) = &mut self.answer else {
            self.share = None;
            return Poll::Ready(None);
        };
        let answered = ready!(answer.as_mut().poll(context));
        self.answer = None;
        Poll::Ready(Some(answered.map(|(response, share)| {
            self.share = Some(share);
            response
        })))
    }
}

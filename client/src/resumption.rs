//! How a call whose connection was lost is made again: when, and, for one that joins an execution, from where.

use std::{fmt, time::Duration};

use remex::{
    error::Reason,
    v1::{AttachRequest, interact_request::Message},
};
use tokio::time::{Instant, sleep};

use crate::{Client, Error, events::Source, outgoing::Outgoing, transport::pause_after_failures};

/// How long a lost server is looked for by what rides through lost connections. By then a command is ended, unless it runs on
/// without its callers; its outcome is still there for [`Client::attach`](crate::Client::attach).
pub const RESUME_TIMEOUT: Duration = Duration::from_mins(10);

/// Decides whether, and when, a call is made again.
#[derive(Debug)]
pub(crate) struct Retries {
    begun: Instant,
    failures: u32,
    resumes: bool,
}

impl Retries {
    /// Unless the call `resumes`, its first failure is its last.
    pub(crate) fn new(resumes: bool) -> Self {
        Self {
            begun: Instant::now(),
            failures: 0,
            resumes,
        }
    }

    /// Waits until it is time for another try after `error`; gives that back if there is to be none.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        if !self.resumes || !error.is_lost() || self.begun.elapsed() >= RESUME_TIMEOUT {
            return Err(error);
        }
        self.pause().await;
        Ok(())
    }

    async fn pause(&mut self) {
        sleep(pause_after_failures(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
    }
}

/// How an execution is joined, and joined again.
#[derive(Clone)]
pub(crate) struct Resumption {
    pub(crate) client: Client,
    pub(crate) attach: AttachRequest,
    /// What is sent to it, if its caller talks to it.
    pub(crate) outgoing: Option<Outgoing>,
}

impl Resumption {
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

    /// As many calls as it takes, after `failures` whose connections were lost before anything came of them.
    pub(crate) async fn reopen(
        self,
        mut after_sequence: u64,
        failures: u32,
    ) -> Result<Source, Error> {
        let mut retries = Retries {
            failures,
            ..Retries::new(true)
        };
        retries.pause().await;
        loop {
            match self.open(after_sequence).await {
                // From the beginning then, which says what is missing.
                Err(error) if is_gone(&error) && after_sequence > 0 => after_sequence = 0,
                Err(error) => retries.again(error).await?,
                opened => return opened,
            }
        }
    }
}

fn is_gone(error: &Error) -> bool {
    error.reason() == Some(Reason::PositionGone)
}

impl fmt::Debug for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.attach.execution_id;
        f.debug_struct("Resumption")
            .field("execution_id", id)
            .finish_non_exhaustive()
    }
}

//! Executions as callers know them: who started which, what became of them, and how to reach one that runs.
//!
//! An [`Execution`] is one of them, running or ended; [`Executions`] starts them, each with a host of its own, and keeps
//! them in the `registry`.

mod executions;
mod log;
mod new;
mod registry;
mod retirement;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::SystemTime,
};

use remex_daemon::net::Caller;
use remex_supervisor::{
    lifecycle::{
        counters::Counters,
        event::Exit,
        stdin::{StdinChunk, StdinError},
    },
    process::{AppliedParts, CommandSpec, WindowSize},
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::{
    executions::{DEFAULT_MAX_EXECUTIONS, Executions, RECORD_BYTES, StartRefused},
    new::{NewExecution, Through},
    registry::{ENDED_BYTES, ENDED_KEPT, ENDED_RECORDS, Filter, Page},
};
use crate::{
    attached::{
        mailbox::{ControlRequest, MailboxLink, StdinRequest},
        waiting_stdin::{StdinRoom, StdinShare},
    },
    budget::Share,
};

/// The execution has ended, so it cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// One execution, running or ended.
#[derive(Debug)]
pub struct Execution {
    /// Its identity.
    pub id: Uuid,
    /// What it runs.
    pub spec: CommandSpec,
    /// What holds of its isolation.
    pub applied: Option<AppliedParts>,
    /// Its output is read to the end of file, not only as long as its leader runs.
    pub until_end: bool,
    /// Its caller's labels.
    pub labels: BTreeMap<String, String>,
    /// Who started it.
    pub caller: Caller,
    /// How its request came.
    pub through: Through,
    /// When it was asked for.
    pub created: SystemTime,
    /// Its leader's process id.
    pub pid: i32,
    /// How far it has come.
    pub counters: Arc<Counters>,
    /// What stdin may take that waits for it.
    pub stdin: StdinRoom,
    /// `None` once it has ended: its queues are not kept with its record.
    link: Mutex<Option<MailboxLink>>,
    end: OnceLock<(Exit, SystemTime)>,
    ended: CancellationToken,
    memory: Share,
}

impl Execution {
    /// How it ended and when, if it has.
    pub fn exit(&self) -> Option<&(Exit, SystemTime)> {
        self.end.get()
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Sends it a signal.
    pub async fn signal(&self, number: i32) -> Result<(), Ended> {
        let (answer, answered) = oneshot::channel();
        self.request(ControlRequest::Signal(number, answer)).await?;
        answered.await.map_err(|_| Ended)
    }

    /// Sets its window size; `false` if it has no terminal.
    pub async fn resize(&self, size: WindowSize) -> Result<bool, Ended> {
        let (answer, answered) = oneshot::channel();
        self.request(ControlRequest::Resize(size, answer)).await?;
        answered.await.map_err(|_| Ended)
    }

    /// Gives it stdin. Returns when all of the chunk has been accepted, with the position up to which stdin has been.
    /// `share` is what it takes of [`Self::stdin`].
    pub async fn write(
        &self,
        chunk: StdinChunk,
        share: StdinShare,
    ) -> Result<Result<u64, StdinError>, Ended> {
        let (answer, answered) = oneshot::channel();
        let request = StdinRequest::Chunk(chunk, share, answer);
        let stdin = self.link()?.stdin;
        stdin.send(request).await.map_err(|_| Ended)?;
        answered.await.map_err(|_| Ended)
    }

    /// Ends its stdin.
    pub async fn close_stdin(&self) -> Result<(), Ended> {
        let sent = self.link()?.stdin.send(StdinRequest::Close).await;
        sent.map_err(|_| Ended)
    }

    async fn request(&self, control: ControlRequest) -> Result<(), Ended> {
        let sent = self.link()?.control.send(control).await;
        sent.map_err(|_| Ended)
    }

    fn link(&self) -> Result<MailboxLink, Ended> {
        self.lock_link().clone().ok_or(Ended)
    }

    fn lock_link(&self) -> MutexGuard<'_, Option<MailboxLink>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, exit: Exit) {
        let _ = self.end.set((exit, SystemTime::now()));
        self.lock_link().take();
        self.ended.cancel();
    }

    /// What its record takes in memory.
    fn cost(&self) -> usize {
        self.memory.bytes()
    }
}

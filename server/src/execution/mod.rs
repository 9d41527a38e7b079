//! Executions as callers know them: who started which, what became of them, and how to reach one that runs.
//!
//! An [`Execution`] is one of them, running or ended; [`Executions`] starts them, each with a host of its own, and keeps
//! them in the `registry`.

mod executions;
pub(crate) mod log;
mod measures;
mod new;
mod permitted;
mod places;
mod registry;
mod resources;
mod retirement;
mod viewer;
#[cfg(test)]
pub(crate) mod testing;
mod told;

use std::{
    collections::BTreeMap,
    future::pending,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use remex_daemon::net::Caller;
use remex_supervisor::{
    journal::{Lost, OpenError},
    lifecycle::{
        counters::Counters,
        event::Exit,
        stdin::{StdinChunk, StdinError},
    },
    process::{AppliedParts, CommandSpec, WindowSize},
};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::{
    executions::{DEFAULT_MAX_EXECUTIONS, Executions, StartRefused},
    measures::{Measured, Measures},
    new::{NewExecution, Through},
    places::Place,
    registry::{ENDED_BYTES, ENDED_KEPT, ENDED_RECORDS, Filter, Page, Rank},
    resources::RECORD_BYTES,
    told::{Cut, Items, Told},
    viewer::Viewer,
};
pub(crate) use self::{
    permitted::{Permitted, permitted},
    resources::{Admitted, Resources, labels_cost},
};
pub use crate::durable::Durability;
use crate::{
    attached::{
        mailbox::{ControlRequest, MailboxLink, StdinRequest},
        waiting_stdin::{StdinRoom, StdinShare},
    },
    budget::Share,
    durable::{self, Kept},
    traces::ExecutionSpan,
};

/// A supervisor that is stopped does not say how far its execution is; after this long the record is shown as it was.
const REFRESH_BOUND: Duration = Duration::from_secs(1);

/// The execution has ended, so it cannot be reached any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

/// How an execution ended, and when.
#[derive(Debug, Clone, Copy)]
pub struct EndRecord {
    /// How.
    pub exit: Exit,
    /// What is not known of it, where nobody saw it.
    pub lost: Option<Lost>,
    /// When.
    pub time: SystemTime,
}

/// How a reader joins an execution.
#[derive(Debug, Clone, Copy)]
pub struct Attaching {
    /// The last event that it has; 0: from the earliest that is kept.
    pub after: u64,
    /// It ends at what is there now.
    pub no_follow: bool,
    /// It is no caller, whose going matters.
    pub observer: bool,
    /// It is told of accepted stdin alone, too.
    pub tells_accepted: bool,
}

/// Why nobody can join an execution.
#[derive(Debug, thiserror::Error)]
pub enum AttachRefused {
    /// Its output is not kept.
    #[error("the execution's output is not kept, so nobody can attach to it")]
    NotDurable,
    /// Its journal, or the position in it.
    #[error(transparent)]
    Journal(#[from] OpenError),
}

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
    /// What a durable one has besides.
    pub kept: Option<Arc<Kept>>,
    /// What its record takes in memory.
    pub memory: Share,
    /// Its life.
    pub life: Liveness,
}

/// Whether an execution runs, and how it is reached as long as it does.
#[derive(Debug)]
pub struct Liveness {
    /// `None` once it has ended: its queues are not kept with its record.
    link: Mutex<Option<MailboxLink>>,
    /// What is told of it in traces; it leaves with the link.
    span: Mutex<ExecutionSpan>,
    end: OnceLock<EndRecord>,
    ended: CancellationToken,
}

impl Liveness {
    /// Of one that runs, and is reached by `link`; `span` ends with it.
    pub fn running(link: MailboxLink, span: ExecutionSpan) -> Self {
        Self {
            link: Mutex::new(Some(link)),
            span: Mutex::new(span),
            end: OnceLock::new(),
            ended: CancellationToken::new(),
        }
    }

    /// Of one that has ended.
    pub fn ended(end: EndRecord) -> Self {
        let ended = CancellationToken::new();
        ended.cancel();
        Self {
            link: Mutex::default(),
            span: Mutex::default(),
            end: end.into(),
            ended,
        }
    }
}

impl Execution {
    /// How it ended and when, if it has.
    pub fn end_record(&self) -> Option<&EndRecord> {
        self.life.end.get()
    }

    /// Begins to read along.
    pub async fn attach(self: &Arc<Self>, how: Attaching) -> Result<Items, AttachRefused> {
        let kept = self.kept.as_ref().ok_or(AttachRefused::NotDurable)?;
        Ok(durable::attach(self, kept, how).await?)
    }

    /// Returns when what its record says is up to date; or when that takes too long.
    pub async fn refresh(&self) {
        // Else it always is.
        if self.kept.is_none() {
            return;
        }
        let refreshed = async {
            let (answer, answered) = oneshot::channel();
            // One that has ended changes no more.
            if self.request(ControlRequest::Status(answer)).await.is_ok() {
                let _ = answered.await;
            }
        };
        let _ = timeout(REFRESH_BOUND, refreshed).await;
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        self.life.ended.cancelled().await;
    }

    /// Returns when the server lets go of it, while it runs on; never of one that ends with the server.
    pub async fn left(&self) {
        match &self.kept {
            Some(kept) => kept.closing.cancelled().await,
            None => pending().await,
        }
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
        self.life
            .link
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: EndRecord) {
        let span = &self.life.span;
        let span = mem::take(&mut *span.lock().unwrap_or_else(PoisonError::into_inner));
        span.end(&end);
        let _ = self.life.end.set(end);
        self.lock_link().take();
        self.life.ended.cancel();
    }

    /// Where it stands in a listing.
    pub fn rank(&self) -> Rank {
        (self.created, self.id)
    }

    /// What its record takes in memory.
    fn cost(&self) -> usize {
        self.memory.bytes()
    }
}

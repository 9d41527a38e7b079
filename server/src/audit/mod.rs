//! The audit log, which `--audit-log` names: a line of JSON for each decision and each end. Without the flag nothing is told.
//!
//! Hops: a call of a service that is [`Audited`] has a [`CallRecord`], which learns what is asked for and by which rule it
//! may be -> it becomes a [`mod@line`], without the secrets that [`redact`] knows; what is denied too often is only counted
//! ([`denials`]) -> the line waits in the [`queue`] -> a thread writes it to the [`file`](mod@file). A command starts once its
//! line is written.

pub mod redact;
pub mod denials;
pub mod asked;
pub mod line;
pub mod queue;
pub mod file;
mod call;
pub(crate) mod service;

use std::{
    fmt, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use remex_daemon::metrics::{MetricSource, Samples};
use remex_supervisor::{lifecycle::counters::Counters, process::ExitStatus};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    call::CallRecord, file::AuditFileError, line::Subject, queue::NotWritten, service::Audited,
};
use self::{
    line::{AuditLine, CallOutcome, Happening, timestamp},
    queue::{Entry, Queue, Room, Told},
    redact::Redaction,
};
use crate::{
    execution::{EndRecord, Execution},
    service::exit_of_record,
};

/// A command waits so long for its line to be written; it is written sooner, or there is something wrong.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is configured of it.
#[derive(Debug, Clone, Default)]
pub struct AuditSettings {
    /// Where it is written; `None`: nowhere.
    pub file: Option<PathBuf>,
    /// Nothing starts whose line cannot be written.
    pub is_required: bool,
    /// Parts of names that stand for secrets, beside the usual ones.
    pub redact: Vec<String>,
}

/// The audit log. Clones are the same; the default one takes everything and writes nothing.
#[derive(Debug, Clone, Default)]
pub struct AuditLog(Option<Arc<Log>>);

#[derive(Debug)]
struct Log {
    queue: Queue,
    redaction: Redaction,
    is_required: bool,
}

/// It cannot be begun.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file.
    #[error(transparent)]
    File(#[from] AuditFileError),
    /// The thread.
    #[error("cannot start a thread for it: {0}")]
    Thread(#[from] io::Error),
}

impl AuditLog {
    /// Begins to write as `settings` say.
    pub fn start(settings: &AuditSettings) -> Result<Self, AuditError> {
        let Some(path) = &settings.file else {
            return Ok(Self::default());
        };
        let file = file::open_to_append(path)?;
        let queue = Queue::default();
        file::start(path.clone(), file, queue.clone())?;
        Ok(Self(Some(Arc::new(Log {
            queue,
            redaction: Redaction::new(&settings.redact),
            is_required: settings.is_required,
        }))))
    }

    /// Whether anything is written.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// `subject` was refused before anything of it was judged: `reason`, `why`. `rpc` is known if it came as far as to a call.
    pub fn refused(&self, subject: &Subject, rpc: Option<&str>, reason: &str, why: &str) {
        let Some(log) = &self.0 else { return };
        log.queue.push_denial(&subject.caller, || {
            let line = AuditLine {
                rpc,
                outcome: Some(CallOutcome::Denied),
                reason: Some(reason),
                why: Some(why),
                ..AuditLine::new(SystemTime::now(), Happening::Decision).by(subject)
            };
            line.encode()
        });
    }

    /// `execution` has ended.
    pub fn ended(&self, execution: &Execution, end: &EndRecord) {
        if let Some(log) = &self.0 {
            log.push(Room::Commands, end_line(execution, end));
        }
    }

    /// The same; returns whether it is written, once that is known.
    pub async fn has_written_end(&self, execution: &Execution, end: &EndRecord) -> bool {
        let Some(log) = &self.0 else { return false };
        Log::write(log, end_line(execution, end)).await.is_ok()
    }

    /// Has the file opened anew, as whoever has renamed it wants it.
    pub fn reopen(&self) {
        if let Some(log) = &self.0 {
            log.queue.reopen();
        }
    }

    /// The same whenever `reload` changes, until `stop`.
    pub async fn reopen_on(self, mut reload: watch::Receiver<u64>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = reload.changed() => self.reopen(),
            }
        }
    }

    /// Waits until everything is written, for at most `patience`; says whether it is. Nothing is to come any more.
    pub fn finish(&self, patience: Duration) -> bool {
        self.0.as_ref().is_none_or(|log| log.queue.finish(patience))
    }
}

impl MetricSource for AuditLog {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        samples.counter(
            "remex_audit_lines_lost",
            "Lines of the audit log, if there is one, that could not be kept until they could be written.",
            self.0.as_ref().map_or(0, |log| log.queue.lost()),
        )
    }
}

impl Log {
    fn push(&self, room: Room, line: Vec<u8>) {
        let written = None;
        self.queue.push(room, Entry { line, written });
    }

    /// Has `line` written, and tells whoever waits for it when it is; or why it is not, if nothing is to start without.
    fn write_before(
        log: &Arc<Self>,
        line: Vec<u8>,
    ) -> impl Future<Output = Result<(), NotWritten>> + use<> {
        let (writing, is_required) = (Self::write(log, line), log.is_required);
        async move {
            match writing.await {
                Err(why) if is_required => Err(why),
                _ => Ok(()),
            }
        }
    }

    /// Has `line` written, and tells whoever waits for it when it is, or why it is not.
    fn write(
        log: &Arc<Self>,
        line: Vec<u8>,
    ) -> impl Future<Output = Result<(), NotWritten>> + use<> {
        let (log, told) = (Arc::clone(log), log.begin_write(line));
        async move {
            match timeout(PATIENCE, told?).await {
                Ok(Ok(written)) => written,
                Ok(Err(_)) => Err(NotWritten("its thread has ended".to_owned())),
                Err(_) => {
                    let why = NotWritten("it takes too long".to_owned());
                    if log.queue.set_trouble(Some(why.clone())) {
                        tracing::error!(%why, "--audit-log");
                    }
                    Err(why)
                }
            }
        }
    }

    /// Queues `line`; says where it is told whether it is written.
    fn begin_write(&self, line: Vec<u8>) -> Result<oneshot::Receiver<Told>, NotWritten> {
        if let Some(why) = self.queue.trouble() {
            // It may be written later. Nobody waits for that.
            self.push(Room::Commands, line);
            return Err(why);
        }
        let (written, told) = oneshot::channel();
        let written = Some(written);
        if !self.queue.push(Room::Commands, Entry { line, written }) {
            return Err(NotWritten("too many lines wait to be written".to_owned()));
        }
        Ok(told)
    }
}

fn end_line(execution: &Execution, end: &EndRecord) -> Vec<u8> {
    let subject = Subject::of(&execution.caller, &execution.through);
    let program = execution.spec.argv.first();
    let program = program.map(|program| program.to_string_lossy());
    let counters: &Counters = &execution.counters;
    let exit = &end.exit;
    let (code, signal) = match exit.outcome.status {
        Some(ExitStatus::Code(code)) => (Some(i32::from(code)), None),
        Some(ExitStatus::Signal { number, .. }) => (None, Some(number)),
        None => (None, None),
    };
    let line = AuditLine {
        execution_id: Some(execution.id.to_string()),
        program: program
            .as_deref()
            .map(|program| &program[..program.floor_char_boundary(asked::TEXT_BYTES)]),
        reason: Some(exit_of_record(end)),
        code,
        signal,
        started: Some(timestamp(execution.created).to_string()),
        wall_seconds: Some(exit.wall_time.as_secs_f64()),
        stdin_bytes: Some(counters.stdin_accepted()),
        stdout_bytes: Some(counters.stdout_bytes()),
        stderr_bytes: Some(counters.stderr_bytes()),
        ..AuditLine::new(end.time, Happening::End).by(&subject)
    };
    line.encode()
}

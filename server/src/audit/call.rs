//! One call, from its arrival to its answer, as the audit log tells it: in one line, which for a command is written before it
//! starts. Whatever becomes of a call, it is told; one whose caller leaves before it is answered, when that leaves.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use remex::error::Reason;
use remex_supervisor::process::CommandSpec;
use tonic::Status;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{
    Log,
    asked::CommandLine,
    line::{AuditLine, CallOutcome, Happening, Subject},
    queue::{NotWritten, Room},
};

/// In place of a reason: nobody waited for the answer.
const CANCELLED: &str = "CANCELLED";

/// A call that is to be told. Clones are the same call; one that is not to be told takes everything and says nothing.
#[derive(Debug, Clone, Default)]
pub struct CallRecord(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    log: Arc<Log>,
    subject: Subject,
    rpc: String,
    said: Mutex<Said>,
}

/// What is known so far.
#[derive(Debug, Default)]
struct Said {
    stage: Stage,
    is_allowed: bool,
    rule: Option<String>,
    execution_id: Option<Uuid>,
    command: Option<CommandLine>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// There is no line of it.
    #[default]
    Untold,
    /// There is one, and a command that is about to start.
    Starting,
    /// There is all that is to be told of it.
    Told,
}

impl CallRecord {
    pub(super) fn new(log: Arc<Log>, subject: Subject, rpc: String) -> Self {
        Self(Some(Arc::new(Open {
            log,
            subject,
            rpc,
            said: Mutex::default(),
        })))
    }

    /// It may be made, by `rule` if there is a policy.
    pub fn allowed(&self, rule: Option<&str>) {
        self.say(|said| {
            said.is_allowed = true;
            if let Some(rule) = rule {
                said.rule = Some(rule.to_owned());
            }
        });
    }

    /// It asks to run `spec`.
    pub fn asks(&self, spec: &CommandSpec) {
        if let Some(open) = &self.0 {
            let command = CommandLine::of(spec, &open.log.redaction);
            open.lock().command = Some(command);
        }
    }

    /// It is about the execution `id`.
    pub fn about(&self, id: Uuid) {
        self.say(|said| said.execution_id = Some(id));
    }

    /// It is decided on, and may take long to be answered: it is told now.
    pub fn decided(&self) {
        if let Some(open) = &self.0 {
            open.answer(None, None);
        }
    }

    /// Its command is about to start as the execution `id`: that is on its way to the file, whether or not somebody waits for
    /// it. Whoever does learns when it is written; or, where nothing is to start without, why it is not.
    pub fn starting(&self, id: Uuid) -> impl Future<Output = Result<(), NotWritten>> + use<> {
        let writing = self.0.as_ref().map(|open| {
            let mut said = open.lock();
            said.stage = Stage::Starting;
            said.execution_id = Some(id);
            let line = open.decision(&said, CallOutcome::Allowed, None).encode();
            Log::write_before(&open.log, line)
        });
        async move {
            match writing {
                Some(writing) => writing.await,
                None => Ok(()),
            }
        }
    }

    /// It does not start, and is about to as another execution.
    pub fn did_not_start(&self) {
        if let Some(open) = &self.0 {
            let mut said = open.lock();
            if said.stage == Stage::Starting {
                said.stage = Stage::Untold;
                open.tell_no_start(&said, Some(Reason::SpawnFailed.as_str()));
            }
        }
    }

    /// Its command runs: its end is told by whoever sees it.
    pub fn started(&self) {
        self.say(|said| said.stage = Stage::Told);
    }

    /// It is answered with `error`, if with any.
    pub(super) fn answered(&self, error: Option<&Status>) {
        if let Some(open) = &self.0 {
            let reason = error.map(|error| match Reason::of(error) {
                Some(reason) => reason.as_str(),
                None => code(error),
            });
            open.answer(reason, error);
        }
    }

    fn say(&self, say: impl FnOnce(&mut Said)) {
        if let Some(open) = &self.0 {
            say(&mut open.lock());
        }
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decision<'a>(
        &'a self,
        said: &'a Said,
        outcome: CallOutcome,
        reason: Option<&'a str>,
    ) -> AuditLine<'a> {
        AuditLine {
            rpc: Some(&self.rpc),
            outcome: Some(outcome),
            reason,
            rule: said.rule.as_deref(),
            execution_id: said.execution_id.map(|id| id.to_string()),
            command: said.command.as_ref(),
            ..AuditLine::new(SystemTime::now(), Happening::Decision).by(&self.subject)
        }
    }

    /// Tells what is not told yet of a call that ended with `reason`, if with an error.
    fn answer(&self, reason: Option<&str>, error: Option<&Status>) {
        let mut said = self.lock();
        match mem::replace(&mut said.stage, Stage::Told) {
            Stage::Told => {}
            // Nothing came of it, in spite of the line that it was to be.
            Stage::Starting => self.tell_no_start(&said, reason),
            Stage::Untold => self.tell(&said, reason, error),
        }
    }

    fn tell_no_start(&self, said: &Said, reason: Option<&str>) {
        let line = AuditLine {
            execution_id: said.execution_id.map(|id| id.to_string()),
            outcome: Some(CallOutcome::Failed),
            reason,
            ..AuditLine::new(SystemTime::now(), Happening::End).by(&self.subject)
        };
        self.log.push(Room::Commands, line.encode());
    }

    fn tell(&self, said: &Said, reason: Option<&str>, error: Option<&Status>) {
        let outcome = match (reason, error) {
            (None, _) => CallOutcome::Allowed,
            (Some(_), None) => CallOutcome::Failed,
            (Some(_), Some(error)) => match Reason::of(error) {
                Some(reason) => CallOutcome::of(Some(reason)),
                None => CallOutcome::Failed,
            },
        };
        // What nobody has allowed is counted with the denials, so that a caller who may do nothing fills nothing.
        if outcome == CallOutcome::Allowed || (outcome == CallOutcome::Failed && said.is_allowed) {
            let line = self.decision(said, outcome, reason);
            return self.log.push(Room::Calls, line.encode());
        }
        self.log.queue.push_denial(&self.subject.caller, || {
            let rule = error.and_then(rule_of);
            let line = self.decision(said, outcome, reason);
            let rule = rule.as_deref().or(line.rule);
            AuditLine { rule, ..line }.encode()
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.answer(Some(CANCELLED), None);
    }
}

/// The rule that a denial names.
fn rule_of(error: &Status) -> Option<String> {
    let mut info = error.get_details_error_info()?;
    info.metadata.remove("rule").filter(|rule| !rule.is_empty())
}

/// What an error without a reason is called. One that its client has cut off is unavailable, to the gRPC library.
fn code(error: &Status) -> &'static str {
    use tonic::Code;
    match error.code() {
        Code::Cancelled | Code::Unavailable => CANCELLED,
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::DataLoss => "DATA_LOSS",
        Code::Internal => "INTERNAL",
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => "UNKNOWN",
    }
}

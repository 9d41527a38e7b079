//! [`Execution`]: a command that runs, seen through Start; and [`RunOutcome`], one that Run has run to its end.

use bytes::Bytes;
use remex::v1::{self, StartResponse};
use tonic::Streaming;

use crate::{Client, Command, Error, Event, Exit};

/// What a command that has ended wrote, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOutcome {
    /// The execution's id.
    pub execution_id: String,
    /// How it ended.
    pub exit: Exit,
    /// The first bytes of stdout, as many as [`Command::max_output_bytes`] allows. A terminal's output is all here.
    pub stdout: Bytes,
    /// The first bytes of stderr.
    pub stderr: Bytes,
    /// How many bytes the command wrote to stdout.
    pub stdout_bytes_total: u64,
    /// How many bytes the command wrote to stderr.
    pub stderr_bytes_total: u64,
    /// Some of stdout or stderr is missing here.
    pub truncated: bool,
}

impl From<v1::RunResponse> for RunOutcome {
    fn from(response: v1::RunResponse) -> Self {
        Self {
            execution_id: response.execution_id,
            exit: response.exit.unwrap_or_default().into(),
            stdout: response.stdout_data,
            stderr: response.stderr_data,
            stdout_bytes_total: response.stdout_bytes_total,
            stderr_bytes_total: response.stderr_bytes_total,
            truncated: response.stdout_truncated || response.stderr_truncated,
        }
    }
}

/// A command that was started. Dropping it is this caller's going away, which kills the command. As long as its events are
/// not taken, up to [`STREAM_WINDOW_BYTES`](crate::STREAM_WINDOW_BYTES) of its output wait here, then the command does;
/// other calls of the same [`Client`] do not.
#[derive(Debug)]
pub struct Execution {
    id: String,
    first: Option<Event>,
    events: Streaming<StartResponse>,
    ended: bool,
}

impl Client {
    /// Runs `command` to its end.
    pub async fn run(&self, command: Command) -> Result<RunOutcome, Error> {
        self.check_features(&command).await?;
        let request: v1::RunRequest = command.into();
        Ok(self.exec().run(request).await?.into_inner().into())
    }

    /// Starts `command`; its events follow as they happen.
    pub async fn start(&self, command: Command) -> Result<Execution, Error> {
        self.check_features(&command).await?;
        let request: v1::StartRequest = command.into();
        let mut events = self.exec().start(request).await?.into_inner();
        loop {
            let response = events.message().await?.ok_or(Error::Incomplete)?;
            if let Some((id, first)) = response.event.and_then(started) {
                let (first, ended) = (Some(first), false);
                return Ok(Execution {
                    id,
                    first,
                    events,
                    ended,
                });
            }
        }
    }
}

impl Execution {
    /// The id that the server gave it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The next event; `None` after [`Event::Exited`]. Cancel-safe: no event is lost if this is dropped.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while !self.ended {
            let response = self.events.message().await?.ok_or(Error::Incomplete)?;
            if let Some(event) = response.event.and_then(Event::of) {
                self.ended = matches!(event, Event::Exited(_));
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

/// The id and the event, if `event` is `started`.
pub(crate) fn started(event: v1::Event) -> Option<(String, Event)> {
    match event.kind? {
        v1::event::Kind::Started(started) => {
            let event = Event::Started { pid: started.pid };
            Some((started.execution_id, event))
        }
        _ => None,
    }
}

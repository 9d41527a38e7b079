//! [`Execution`]: a command that runs, seen through Start; and [`RunOutcome`], one that Run has run to its end.

use bytes::Bytes;
use remex::v1::{self, AttachRequest, event::Kind};

use crate::{
    Attach, Client, Command, Error, Event, Exit,
    events::{Events, Next, Reply, Source},
    position::Position,
    resumption::{Resumption, Retries},
};

/// The sequence of the first event.
pub(crate) const FIRST: u64 = 1;

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

/// A command that was started, or attached to. Dropping it is this caller's going away, which kills the command unless
/// [`Command::on_disconnect`] says otherwise. As long as its events are not taken, up to
/// [`STREAM_WINDOW_BYTES`](crate::STREAM_WINDOW_BYTES) of its output wait here, then the command does; other calls of the same
/// [`Client`] do not.
#[derive(Debug)]
pub struct Execution {
    id: String,
    first: Option<Event>,
    events: Events,
    ended: bool,
}

impl Client {
    /// Runs `command` to its end.
    pub async fn run(&self, command: Command) -> Result<RunOutcome, Error> {
        let mut retries = Retries::new(command.resumes());
        loop {
            match self.run_once(command.clone()).await {
                Err(error) => retries.again(error).await?,
                outcome => return outcome,
            }
        }
    }

    async fn run_once(&self, command: Command) -> Result<RunOutcome, Error> {
        self.check_features(&command).await?;
        let request: v1::RunRequest = command.into();
        Ok(self.exec().run(request).await?.into_inner().into())
    }

    /// Starts `command`; its events follow as they happen.
    pub async fn start(&self, command: Command) -> Result<Execution, Error> {
        let mut retries = Retries::new(command.resumes());
        loop {
            match self.start_once(command.clone()).await {
                Err(error) => retries.again(error).await?,
                started => return started,
            }
        }
    }

    async fn start_once(&self, command: Command) -> Result<Execution, Error> {
        self.check_features(&command).await?;
        let resumes = command.resumes();
        let request: v1::StartRequest = command.into();
        let request_id = request.request_id.clone();
        let events = self.exec().start(request).await?.into_inner();
        let mut source = Source::Start(events);
        loop {
            let Some(event) = next_reply(&mut source).await?.event else {
                continue;
            };
            if let Some((id, first)) = self.begun(event, &request_id).await? {
                let attach = AttachRequest {
                    execution_id: id.clone(),
                    ..AttachRequest::default()
                };
                let resumption = resumes.then(|| Resumption {
                    client: self.clone(),
                    attach,
                    outgoing: None,
                });
                return Ok(Execution {
                    id,
                    ended: matches!(first, Event::Exited(_)),
                    first: Some(first),
                    events: Events::started(source, Position::after(FIRST), resumption),
                });
            }
        }
    }

    /// The execution that a call has started or joined, and its first event, if `event` is that. One that may or may not have
    /// run has nothing but an end, which does not say whose it is.
    pub(crate) async fn begun(
        &self,
        event: v1::Event,
        request_id: &str,
    ) -> Result<Option<(String, Event)>, Error> {
        let id = match &event.kind {
            Some(Kind::Started(started)) => started.execution_id.clone(),
            // Without a request id, nobody can ask for it again.
            Some(Kind::Exited(_)) if request_id.is_empty() => String::new(),
            Some(Kind::Exited(_)) => self.find(request_id).await?.execution_id,
            _ => return Ok(None),
        };
        Ok(Event::of(event).map(|first| (id, first)))
    }

    /// Joins an execution that outlives its callers, running or ended: its events follow from the position that `attach`
    /// says. A position whose output is gone is [`Reason::PositionGone`](crate::Reason::PositionGone).
    pub async fn attach(&self, attach: Attach) -> Result<Execution, Error> {
        let (request, resumes) = attach.into_request();
        let id = request.execution_id.clone();
        let after = request.after_sequence;
        let resumption = Resumption {
            client: self.clone(),
            attach: request,
            outgoing: None,
        };
        let mut retries = Retries::new(resumes);
        let source = loop {
            match resumption.open(after).await {
                Err(error) => retries.again(error).await?,
                Ok(source) => break source,
            }
        };
        let resumption = resumes.then_some(resumption);
        Ok(Execution {
            id,
            first: None,
            events: Events::attached(source, Position::after(after), resumption),
            ended: false,
        })
    }
}

impl Execution {
    /// The id that the server gave it. Empty for one of which nobody knows whether it has run, and that has no
    /// [`request_id`](Command::request_id).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The sequence of the last event that [`Self::next`] gave: whoever [attaches](Attach::after) behind it misses nothing.
    pub fn position(&self) -> u64 {
        if self.first.is_some() {
            0
        } else {
            self.events.sequence()
        }
    }

    /// The next event; `None` after [`Event::Exited`], and after the last that there is where they are not followed, or where
    /// the position to attach from was the end.
    /// Cancel-safe: no event is lost if this is dropped.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while !self.ended {
            let reply = match self.events.next().await? {
                Next::Reply(reply) => reply,
                Next::Lost(error) => {
                    let why = error.to_string();
                    return Ok(Some(Event::Interrupted { why }));
                }
                Next::Resumed => return Ok(Some(Event::Resumed)),
                Next::Over => {
                    self.ended = true;
                    break;
                }
            };
            if let Some(event) = reply.event.and_then(Event::of) {
                if let Event::Exited(_) = event {
                    self.ended = true;
                    self.events.end();
                }
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}

/// The next message of a call that has more to tell.
pub(crate) async fn next_reply(source: &mut Source) -> Result<Reply, Error> {
    source.reply().await?.ok_or(Error::Incomplete)
}

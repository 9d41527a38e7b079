//! [`Execution`]: a command that runs, seen through Start; and [`RunOutcome`], one that Run has run to its end.

use bytes::Bytes;
use remex::v1::{self, AttachRequest};

use crate::{
    Attach, Client, Command, Error, Event, Exit,
    events::{Events, Next, Reply, Source},
    position::Position,
    resumption::{Resumption, Retries},
};

/// The sequence of `started`.
pub(crate) const STARTED: u64 = 1;

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
        let events = self.exec().start(request).await?.into_inner();
        let mut source = Source::Start(events);
        loop {
            if let Some((id, first)) = next_reply(&mut source).await?.event.and_then(started) {
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
                    first: Some(first),
                    events: Events::started(source, Position::after(STARTED), resumption),
                    ended: false,
                });
            }
        }
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
    /// The id that the server gave it. It is empty where nobody knows whether it ran
    /// ([`ExitReason::LostStart`](crate::ExitReason::LostStart)), as the server then tells nothing but that.
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
            if let Event::Exited(_) = first {
                self.ended = true;
                self.events.end();
            }
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

/// The id and the event, if `event` is the first of an execution: `started`, or the end of one that may not have run, which says
/// no id.
pub(crate) fn started(event: v1::Event) -> Option<(String, Event)> {
    let id = match event.kind.as_ref()? {
        v1::event::Kind::Started(started) => started.execution_id.clone(),
        v1::event::Kind::Exited(_) => String::new(),
        _ => return None,
    };
    Some((id, Event::of(event)?))
}

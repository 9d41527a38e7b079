//! One command, run by the server: its request as the listener has it, its output collected, and how it ended in the old
//! protocol's terms. A command is sent once; if its fate is not known, that is what the reply says.

use std::time::Duration;

use remex::v1::{self, StartRequest, StartResponse, event::Kind, output::Stream};
use remex_client::{Client, Exit, ExitReason, Reason, never_ran};
use remex_daemon::net::Caller;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming};

use crate::{
    body::{Body, Collector, Policy, Source, Tail},
    call,
    config::{Drain, Exec},
    handler::Form,
    wire::Ending,
};

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) execution_id: String,
    pub(crate) ending: Ending,
    pub(crate) body: Body,
}

/// What is known of a command's end, before its body is.
#[derive(Default)]
struct End {
    execution_id: String,
    ending: Ending,
    remark: Option<String>,
}

/// Runs `text`. Dropping the future is the caller's going away: the server kills the command.
pub(crate) async fn run(
    client: &Client,
    text: String,
    exec: &Exec,
    caller: &Caller,
    policy: Policy,
    form: Form,
    start_wait: Duration,
) -> Outcome {
    let mut collector = Collector::new(policy);
    let end = start(
        client,
        request(text, exec, caller),
        &mut collector,
        start_wait,
    )
    .await;
    let tail = Tail {
        if_empty: form.must_say.then(|| end.ending.no_output()),
        remark: match end.remark {
            None if !form.tells_status => end.ending.ended(),
            remark => remark,
        },
    };
    Outcome {
        execution_id: end.execution_id,
        ending: end.ending,
        body: collector.finish(&tail).await,
    }
}

/// Starts the command and takes its events. A server that says nothing at all, not even an error, is given up.
async fn start(
    client: &Client,
    request: Request<StartRequest>,
    collector: &mut Collector,
    wait: Duration,
) -> End {
    let begun = async {
        let mut events = client.exec().start(request).await?.into_inner();
        let first = events.message().await?;
        Ok((first, events))
    };
    match timeout(wait, begun).await {
        Ok(Ok((first, events))) => follow(first, events, collector).await,
        Ok(Err(status)) => never_started(&status),
        Err(_) => End::default().silent(wait),
    }
}

fn request(text: String, exec: &Exec, caller: &Caller) -> Request<StartRequest> {
    let start = StartRequest {
        command: Some(command(text, exec)),
        ..StartRequest::default()
    };
    call::by(caller, start)
}

fn command(text: String, exec: &Exec) -> v1::Command {
    let timeout = exec.timeout.and_then(|timeout| timeout.try_into().ok());
    let mut command = v1::Command {
        timeout,
        ..v1::Command::default()
    };
    match &exec.shell {
        None => command.shell = text,
        Some(shell) => command.argv = vec![shell.clone(), "-c".to_owned(), text],
    }
    // The default goes unsaid: a server that does not know the field is asked for nothing that it would drop.
    if exec.drain == Drain::Eof {
        command.set_drain(v1::command::Drain::Eof);
    }
    command
}

/// Takes events until the last.
async fn follow(
    first: Option<StartResponse>,
    mut events: Streaming<StartResponse>,
    collector: &mut Collector,
) -> End {
    let mut end = End::default();
    let mut next = Ok(first);
    loop {
        let kind = match next {
            Ok(Some(response)) => response.event.and_then(|event| event.kind),
            Ok(None) => return end.unknown("the server stopped telling what it does"),
            Err(status) if end.execution_id.is_empty() => return never_started(&status),
            Err(status) if Reason::of(&status) == Some(Reason::OutputCut) => {
                return end.cut(&status);
            }
            Err(status) => return end.unknown(status.message()),
        };
        match kind {
            Some(Kind::Started(started)) => end.execution_id = started.execution_id,
            Some(Kind::Output(output)) => {
                if let Some(source) = source(output.stream()) {
                    collector.push(source, &output.data).await;
                }
            }
            Some(Kind::Gap(gap)) => {
                collector.miss(Source::Stdout, gap.stdout_bytes + gap.terminal_bytes);
                collector.miss(Source::Stderr, gap.stderr_bytes);
            }
            Some(Kind::Exited(exited)) => {
                return end.exited(&exited.exit.unwrap_or_default().into());
            }
            // Keepalives, and what a later version has to tell.
            None => {}
        }
        next = events.message().await;
    }
}

fn source(stream: Stream) -> Option<Source> {
    match stream {
        Stream::Stdout | Stream::Terminal => Some(Source::Stdout),
        Stream::Stderr => Some(Source::Stderr),
        Stream::Unspecified => None,
    }
}

impl End {
    fn exited(mut self, exit: &Exit) -> Self {
        self.ending = Ending::of(exit);
        self.remark = match exit.reason {
            ExitReason::LostStart => Some("whether the command ran is not known"),
            ExitReason::LostExit => Some("how the command ended is not known"),
            ExitReason::LostReboot => Some("the machine went down while the command ran"),
            ExitReason::Own
            | ExitReason::Timeout
            | ExitReason::Disconnect
            | ExitReason::Shutdown
            | ExitReason::Signal
            | ExitReason::Unknown
            | _ => None,
        }
        .map(|remark| format!("remex: {remark}"));
        self
    }

    /// A shutdown cut its output, and how it ended is nobody's to say.
    fn cut(mut self, status: &Status) -> Self {
        self.ending = Ending::default();
        self.remark = Some(format!("[remex: output cut: {}]", status.message()));
        self
    }

    fn silent(mut self, wait: Duration) -> Self {
        let why = format!("the server did not answer within {wait:?}");
        self.remark = Some(format!(
            "remex: whether the command ran is not known: {why}"
        ));
        self
    }

    fn unknown(mut self, why: &str) -> Self {
        self.ending = Ending::default();
        self.remark = Some(format!("remex: how the command ended is not known: {why}"));
        self
    }
}

/// Refused, never sent, or lost before the server had a word to say of it.
fn never_started(status: &Status) -> End {
    let reason = Reason::of(status);
    let message = status.message();
    let nothing_ran = reason.is_some() || never_ran(status);
    let remark = if nothing_ran {
        format!("remex: {message}")
    } else {
        format!("remex: whether the command ran is not known: {message}")
    };
    End {
        ending: Ending::of_refusal(reason),
        remark: Some(remark),
        ..End::default()
    }
}

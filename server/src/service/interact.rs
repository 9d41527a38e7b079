//! The caller's side of Interact: stdin, signals and window sizes on their way to an execution.

use std::{sync::Arc, time::Duration};

use remex::{
    error::Reason,
    v1::{InteractRequest, interact_request::Message},
};
use tokio::{sync::oneshot, time::timeout};
use tonic::{Status, Streaming};

use super::{status, translate};
use crate::execution::{Ended, Execution};

/// After the execution's end, the caller's messages are read and dropped for this long: a reset of its side could
/// overtake the last response.
const DISCARD: Duration = Duration::from_secs(5);

/// Passes on what the caller sends until it half-closes, fails or does something wrong, which `failure` is told.
pub(super) async fn pump(
    mut requests: Streaming<InteractRequest>,
    execution: Arc<Execution>,
    failure: oneshot::Sender<Status>,
) {
    let passed = tokio::select! {
        passed = pass_on(&mut requests, &execution) => passed,
        () = execution.ended() => Ok(()),
    };
    if let Err(status) = passed {
        // Nobody listens any more if the call is over.
        let _ = failure.send(status);
        return;
    }
    execution.ended().await;
    let discard = async { while let Ok(Some(_)) = requests.message().await {} };
    let _ = timeout(DISCARD, discard).await;
}

async fn pass_on(
    requests: &mut Streaming<InteractRequest>,
    execution: &Execution,
) -> Result<(), Status> {
    loop {
        match requests.message().await {
            Ok(Some(request)) => pass(request, execution).await?,
            Ok(None) => {
                // What has ended meanwhile needs no end of stdin.
                let (Ok(()) | Err(Ended)) = execution.close_stdin().await;
                return Ok(());
            }
            // The call was cancelled or its connection lost, which the response stream's end tells the driver.
            Err(status) if status.code() == tonic::Code::Cancelled => return Ok(()),
            Err(status) => return Err(status),
        }
    }
}

async fn pass(request: InteractRequest, execution: &Execution) -> Result<(), Status> {
    // An execution that has ended takes nothing more, and says so by its last event.
    match request.message {
        None => Err(Reason::InvalidField.field("message", "is missing")),
        Some(Message::Start(_) | Message::Attach(_)) => {
            Err(Reason::InvalidField.field("message", "start and attach are first messages"))
        }
        Some(Message::StdinChunk(chunk)) => {
            match execution.write(translate::stdin_chunk(chunk)?).await {
                Ok(Err(error)) => Err(status::stdin_error(error)),
                Ok(Ok(_)) | Err(Ended) => Ok(()),
            }
        }
        Some(Message::Signal(number)) => {
            let (Ok(()) | Err(Ended)) =
                execution.signal(translate::signal("signal", number)?).await;
            Ok(())
        }
        Some(Message::Resize(size)) => {
            let size = translate::window_size(size.rows, size.columns)?;
            match execution.resize(size).await {
                Ok(false) => Err(no_terminal()),
                Ok(true) | Err(Ended) => Ok(()),
            }
        }
    }
}

pub(super) fn no_terminal() -> Status {
    Reason::NoTerminal.status("the execution has no terminal; start it with one")
}

//! The caller's side of Interact: stdin, signals and window sizes on their way to an execution.
//!
//! Signals and sizes go straight on; stdin waits in a queue of its own until the command takes it. What cannot be carried
//! out is refused, and the call goes on.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use remex::{
    error::Reason,
    v1::{InteractRequest, Refused, interact_request::Message},
};
use remex_supervisor::lifecycle::stdin::{StdinChunk, StdinError};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::{Status, Streaming};

use super::{status, translate};
use crate::{
    attached::waiting_stdin::{StdinShare, cost},
    execution::{Ended, Execution},
    grpc::codec,
};

/// After the execution's end, the caller's messages are read and dropped for this long: a reset of its side could
/// overtake the last response.
const DISCARD: Duration = Duration::from_secs(5);

/// Refusals that wait to be sent; further ones are dropped.
pub(super) const REFUSALS: usize = 16;

/// Bytes of stdin that wait here, besides the chunk that is being offered: a caller with no more than this in flight gets
/// its signals through, whatever its command reads, as long as there is memory for what waits for all commands.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// The same in chunks, whose own cost counts when they are small.
const MAX_WAITING_CHUNKS: usize = 16 * 1024;

/// What the caller is told of its own messages.
#[derive(Debug)]
pub(super) struct Replies {
    /// Why the call ends.
    pub(super) failure: oneshot::Sender<Status>,
    /// Messages that were not carried out.
    pub(super) refused: mpsc::Sender<Refused>,
}

/// Passes on what the caller sends until it half-closes, fails or leaves a hole in its stdin.
pub(super) async fn pump(
    mut requests: Streaming<InteractRequest>,
    execution: Arc<Execution>,
    mut replies: Replies,
    is_observer: bool,
) {
    let mut sender = Sender::new(&execution, replies.refused, is_observer);
    let passed = tokio::select! {
        passed = sender.pass_on(&mut requests) => passed,
        () = execution.ended() => Ok(()),
        () = execution.left() => return,
    };
    if let Err(status) = passed {
        // Nobody listens any more if the call is over.
        let _ = replies.failure.send(status);
        return;
    }
    tokio::select! {
        () = execution.ended() => {}
        () = execution.left() => return,
        // The call is over, and the execution may go on for ever.
        () = replies.failure.closed() => return,
    }
    let discard = async { while let Ok(Some(_)) = requests.message().await {} };
    let _ = timeout(DISCARD, discard).await;
}

/// A chunk of stdin, which of the caller's messages brought it, and the memory that it takes.
struct Admitted {
    index: u64,
    chunk: StdinChunk,
    share: StdinShare,
}

/// A chunk for which there is no memory yet; nothing behind it is read.
type Admission = Pin<Box<dyn Future<Output = Admitted> + Send>>;

/// One call's messages, on their way.
struct Sender<'a> {
    execution: &'a Execution,
    refused: mpsc::Sender<Refused>,
    /// The next message's index; the first one started the command.
    next: u64,
    waiting: VecDeque<Admitted>,
    waiting_bytes: usize,
    admission: Option<Admission>,
    half_closed: bool,
    /// It may send nothing, and its half-close means nothing.
    is_observer: bool,
}

impl<'a> Sender<'a> {
    fn new(execution: &'a Execution, refused: mpsc::Sender<Refused>, is_observer: bool) -> Self {
        Self {
            execution,
            refused,
            is_observer,
            next: 1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            admission: None,
            half_closed: false,
        }
    }

    async fn pass_on(&mut self, requests: &mut Streaming<InteractRequest>) -> Result<(), Status> {
        let execution = self.execution;
        let write = async |Admitted {
                               index,
                               chunk,
                               share,
                           }| (index, execution.write(chunk, share).await);
        let mut writing = Box::pin(OptionFuture::from(None));
        let mut is_writing = false;
        loop {
            if !is_writing {
                match self.take_next() {
                    Some(admitted) => {
                        writing.set(Some(write(admitted)).into());
                        is_writing = true;
                    }
                    None if self.half_closed && self.is_observer => return Ok(()),
                    None if self.half_closed && self.admission.is_none() => {
                        // What has ended meanwhile needs no end of stdin.
                        let (Ok(()) | Err(Ended)) = execution.close_stdin().await;
                        return Ok(());
                    }
                    None => {}
                }
            }
            tokio::select! {
                biased;
                Some((index, written)) = writing.as_mut(), if is_writing => {
                    is_writing = false;
                    self.written(index, written)?;
                }
                Some(admitted) = OptionFuture::from(self.admission.as_mut()) => {
                    self.admission = None;
                    self.wait_for_turn(admitted);
                }
                request = requests.message(), if self.has_room() => match request {
                    Ok(Some(request)) => self.pass(request).await,
                    Ok(None) => self.half_closed = true,
                    Err(status) => return Err(codec::error(status)),
                },
            }
        }
    }

    fn has_room(&self) -> bool {
        !self.half_closed
            && self.admission.is_none()
            && self.waiting_bytes <= MAX_WAITING_BYTES
            && self.waiting.len() < MAX_WAITING_CHUNKS
    }

    fn take_next(&mut self) -> Option<Admitted> {
        let next = self.waiting.pop_front()?;
        self.waiting_bytes -= next.chunk.data.len();
        Some(next)
    }

    fn wait_for_turn(&mut self, admitted: Admitted) {
        self.waiting_bytes += admitted.chunk.data.len();
        self.waiting.push_back(admitted);
    }

    /// Takes the memory of a chunk, or begins to wait for it.
    fn admit(&mut self, index: u64, chunk: StdinChunk) {
        let (room, bytes) = (&self.execution.stdin, cost(&chunk));
        if let Some(share) = room.try_take(bytes) {
            self.wait_for_turn(Admitted {
                index,
                chunk,
                share,
            });
            return;
        }
        let room = room.clone();
        self.admission = Some(Box::pin(async move {
            let share = room.take(bytes).await;
            Admitted {
                index,
                chunk,
                share,
            }
        }));
    }

    /// Only a hole in stdin ends the call: what comes behind it is not what the caller meant.
    fn written(
        &self,
        index: u64,
        written: Result<Result<u64, StdinError>, Ended>,
    ) -> Result<(), Status> {
        match written {
            // An execution that has ended takes nothing more, and says so by its last event.
            Ok(Ok(_)) | Err(Ended) => Ok(()),
            Ok(Err(error @ StdinError::Hole { .. })) => Err(status::stdin_error(error)),
            Ok(Err(error @ StdinError::Closed { .. })) => {
                self.refuse(index, &status::stdin_error(error));
                Ok(())
            }
        }
    }

    async fn pass(&mut self, request: InteractRequest) {
        let index = self.next;
        self.next += 1;
        if let Err(status) = self.carry_out(index, request).await {
            self.refuse(index, &status);
        }
    }

    async fn carry_out(&mut self, index: u64, request: InteractRequest) -> Result<(), Status> {
        if self.is_observer {
            return Err(
                Reason::InvalidField.field("message", "comes from an observer, who only reads")
            );
        }
        match request.message {
            None => Err(Reason::InvalidField.field("message", "is missing")),
            Some(Message::Start(_) | Message::Attach(_)) => {
                Err(Reason::InvalidField.field("message", "start and attach are first messages"))
            }
            Some(Message::StdinChunk(chunk)) => {
                self.admit(index, translate::stdin_chunk(chunk)?);
                Ok(())
            }
            Some(Message::Signal(number)) => {
                let number = translate::signal("signal", number)?;
                let (Ok(()) | Err(Ended)) = self.execution.signal(number).await;
                Ok(())
            }
            Some(Message::Resize(size)) => {
                match resize(self.execution, size.rows, size.columns).await? {
                    Ok(()) | Err(Ended) => Ok(()),
                }
            }
        }
    }

    fn refuse(&self, index: u64, status: &Status) {
        let refused = Refused {
            message_index: index,
            reason: Reason::of(status)
                .map(Reason::as_str)
                .unwrap_or_default()
                .to_owned(),
            message: status.message().to_owned(),
        };
        // A caller that does not read them goes without.
        let _ = self.refused.try_send(refused);
    }
}

/// Sets the window size of an execution's terminal; 0 rows or columns leave it as it is.
pub(super) async fn resize(
    execution: &Execution,
    rows: u32,
    columns: u32,
) -> Result<Result<(), Ended>, Status> {
    let no_terminal =
        || Reason::NoTerminal.status("the execution has no terminal; start it with one");
    let size = translate::window_size(rows, columns)?;
    if execution.spec.terminal.is_none() {
        return Err(no_terminal());
    }
    let Some(size) = size else {
        return Ok(Ok(()));
    };
    match execution.resize(size).await {
        Ok(false) => Err(no_terminal()),
        Ok(true) => Ok(Ok(())),
        Err(Ended) => Ok(Err(Ended)),
    }
}

#[cfg(test)]
mod tests;

//! How a running execution is reached.

use remex_supervisor::{
    lifecycle::{
        outcome::Cause,
        stdin::{StdinChunk, StdinError},
    },
    process::WindowSize,
};
use tokio::sync::{mpsc, oneshot};

use super::waiting_stdin::StdinShare;

/// Requests that wait for a host.
pub const REQUESTS: usize = 16;

/// A request to a running execution; dropped unanswered when it has ended.
#[derive(Debug)]
pub enum ControlRequest {
    /// Sends a signal.
    Signal(i32, oneshot::Sender<()>),
    /// Sets the window size; the answer is `false` if there is no terminal.
    Resize(WindowSize, oneshot::Sender<bool>),
    /// Answered when what others see of it is up to date.
    Status(oneshot::Sender<()>),
    /// Ends it.
    End(Cause),
}

/// stdin for a running execution.
#[derive(Debug)]
pub enum StdinRequest {
    /// A piece of it, with the memory that it takes. Answered when all of it has been accepted, with the position up to
    /// which stdin has been.
    Chunk(
        StdinChunk,
        StdinShare,
        oneshot::Sender<Result<u64, StdinError>>,
    ),
    /// Its end, as by a half-close.
    Close,
}

/// What reaches a host.
#[derive(Debug)]
pub struct Mailbox {
    /// Signals, window sizes, ends.
    pub control: mpsc::Receiver<ControlRequest>,
    /// stdin, which may wait while the former pass.
    pub stdin: mpsc::Receiver<StdinRequest>,
}

/// How it is reached.
#[derive(Debug, Clone)]
pub struct MailboxLink {
    /// For signals, window sizes, ends.
    pub control: mpsc::Sender<ControlRequest>,
    /// For stdin.
    pub stdin: mpsc::Sender<StdinRequest>,
}

/// Both ends; each queue holds [`REQUESTS`].
pub fn mailbox() -> (MailboxLink, Mailbox) {
    let (control, control_in) = mpsc::channel(REQUESTS);
    let (stdin, stdin_in) = mpsc::channel(REQUESTS);
    let mailbox = Mailbox {
        control: control_in,
        stdin: stdin_in,
    };
    (MailboxLink { control, stdin }, mailbox)
}

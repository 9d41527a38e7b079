//! How a running execution is reached, and what others see of it.

use std::sync::atomic::{AtomicBool, AtomicU64};

use remex_supervisor::lifecycle::life::Cause;
use remex_supervisor::process::WindowSize;
use tokio::sync::{mpsc, oneshot};

use super::feeder::StdinRequest;

/// Requests that wait for a driver.
pub const REQUESTS: usize = 16;

/// A request to a running execution; dropped unanswered when it has ended.
#[derive(Debug)]
pub enum Request {
    /// Sends a signal.
    Signal(i32, oneshot::Sender<()>),
    /// Sets the window size; the answer is `false` if there is no terminal.
    Resize(WindowSize, oneshot::Sender<bool>),
    /// Ends it.
    End(Cause),
}

/// What others see of a running execution.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes written to stdout, or to the terminal.
    pub stdout_bytes: AtomicU64,
    /// Bytes written to stderr.
    pub stderr_bytes: AtomicU64,
    /// Position up to which stdin has been accepted.
    pub stdin_accepted: AtomicU64,
    /// The last event's sequence.
    pub last_sequence: AtomicU64,
    /// Its caller has gone.
    pub abandoned: AtomicBool,
}

/// What reaches a driver.
#[derive(Debug)]
pub struct Mailbox {
    /// Signals, window sizes, ends.
    pub requests: mpsc::Receiver<Request>,
    /// stdin, which may wait while the former pass.
    pub stdin: mpsc::Receiver<StdinRequest>,
}

/// How it is reached.
#[derive(Debug, Clone)]
pub struct Link {
    /// For signals, window sizes, ends.
    pub requests: mpsc::Sender<Request>,
    /// For stdin.
    pub stdin: mpsc::Sender<StdinRequest>,
}

/// Both ends; each queue holds [`REQUESTS`].
pub fn mailbox() -> (Link, Mailbox) {
    let (requests, requests_in) = mpsc::channel(REQUESTS);
    let (stdin, stdin_in) = mpsc::channel(REQUESTS);
    let mailbox = Mailbox {
        requests: requests_in,
        stdin: stdin_in,
    };
    (Link { requests, stdin }, mailbox)
}

//! How an execution has ended, and why.

use crate::process::ExitStatus;

/// Why an execution is ended by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its time is up.
    Timeout,
    /// Its last caller has gone.
    Disconnect,
    /// The server shuts down.
    Shutdown,
}

/// Why an execution has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// By itself.
    Own,
    /// The server ended it.
    Ended(Cause),
    /// Its leader died of a signal that a caller had sent.
    Signal,
    /// The kernel did not let go of it.
    Lost,
}

/// How an execution has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The leader's end; `None` if nobody saw it.
    pub status: Option<ExitStatus>,
    /// Why.
    pub reason: ExitReason,
    /// Something of the tree was still there after its KILL.
    pub unkillable: bool,
    /// Output that the leader had written is missing: a shutdown cut it.
    pub output_cut: bool,
}

impl Outcome {
    /// Nobody saw how it ended.
    pub const LOST: Self = Self {
        status: None,
        reason: ExitReason::Lost,
        unkillable: false,
        output_cut: false,
    };
}

//! Why a call failed. That a command failed is no error: see [`Exit`](crate::Exit).

use remex::error::Reason;
use thiserror::Error;
use tonic::{Code, Status};

use crate::{ConnectError, never_ran};

/// A call failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server refused, and said why: [`Self::reason`] is what a program decides by.
    #[error("{} ({reason})", status.message())]
    Refused {
        /// Why.
        reason: Reason,
        /// All that it said.
        status: Status,
    },
    /// The call failed with no reason of remex's: the connection was lost, or something between gave up.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Failed(Status),
    /// The server does not have this field of a command, and would run it as if it had not been given.
    #[error(
        "the server is of an older version, which does not heed {0:?}; leave it out, or bring the server up to date"
    )]
    Unheeded(&'static str),
    /// The events ended before the command did.
    #[error("the server stopped telling what the command does")]
    Incomplete,
}

impl Error {
    /// The reason that the server gave; `None` if it gave none.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Refused { reason, .. } => Some(*reason),
            Self::Connect(_) | Self::Failed(_) | Self::Unheeded(_) | Self::Incomplete => None,
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { status, .. } | Self::Failed(status) => status.code(),
            Self::Unheeded(_) => Code::Unimplemented,
            Self::Connect(_) | Self::Incomplete => Code::Unavailable,
        }
    }
}

impl Error {
    /// Whether the call failed before the service could see it, so that its command has not run. What the service refused
    /// has its reason, which says as much of it; of anything else it is not known.
    pub fn never_ran(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Unheeded(_) => true,
            Self::Failed(status) => never_ran(status),
            Self::Refused { .. } | Self::Incomplete => false,
        }
    }
}

impl Error {
    /// Whether another connection may do what this one did not: it, or the server behind it, was lost or shuts down.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Incomplete => true,
            Self::Refused { reason, .. } => *reason == Reason::Draining,
            Self::Failed(status) => matches!(
                status.code(),
                Code::Unavailable
                    | Code::Cancelled
                    | Code::Internal
                    | Code::Unknown
                    | Code::Aborted
            ),
            Self::Unheeded(_) => false,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match Reason::of(&status) {
            Some(reason) => Self::Refused { reason, status },
            None => match ConnectError::of(&status) {
                Some(error) => Self::Connect(error.clone()),
                None => Self::Failed(status),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    #[test]
    fn the_reason_is_told_from_the_code() {
        let error = Error::from(Reason::ProgramNotFound.status("no program x"));
        assert_eq!(error.reason(), Some(Reason::ProgramNotFound));
        assert_eq!(error.code(), Code::NotFound);
        assert_eq!(error.to_string(), "no program x (PROGRAM_NOT_FOUND)");
        let error = Error::from(Status::not_found("no such page"));
        assert_eq!(error.reason(), None);
        assert_eq!(error.to_string(), "no such page (NotFound)");
        assert!(!error.never_ran());
    }

    #[test]
    fn only_a_lost_connection_is_followed_by_another() {
        let endpoint = Endpoint::default();
        for (error, is_lost) in [
            (Error::Connect(ConnectError::TimedOut { endpoint }), true),
            (Error::Incomplete, true),
            (Status::unavailable("lost").into(), true),
            (Reason::Draining.status("it ends").into(), true),
            (Status::unimplemented("no such method").into(), false),
            (Status::permission_denied("not you").into(), false),
            (Reason::ExecutionNotFound.status("none").into(), false),
            (Reason::NotDurable.status("not kept").into(), false),
            (Error::Unheeded("durable"), false),
        ] {
            assert_eq!(error.is_lost(), is_lost, "{error}");
        }
    }

    #[test]
    fn what_a_call_could_not_connect_by_is_told_from_what_it_lost() {
        let endpoint = Endpoint::default();
        let error = Error::from(Status::from(ConnectError::TimedOut { endpoint }));
        assert!(matches!(
            error,
            Error::Connect(ConnectError::TimedOut { .. })
        ));
        assert!(error.never_ran());
        assert!(!Error::from(Status::unavailable("lost")).never_ran());
    }
}

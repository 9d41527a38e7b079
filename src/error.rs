//! Why a call was refused: the `google.rpc.ErrorInfo` that every status of remex carries.

use std::{fmt, str::FromStr, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every error that remex makes.
pub const DOMAIN: &str = "remex";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident;)*) => {
        /// Why a call was refused: `ErrorInfo.reason`, what a program decides by. The status message is for people.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them, in the order of API.md's table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The gRPC status code that goes with it.
            pub const fn code(self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                }
            }
        }
    };
}

reasons! {
    /// Not exactly one of `argv`, `argv_raw`, `shell`; or something in it that cannot be passed to a program.
    InvalidCommand = "INVALID_COMMAND", InvalidArgument;
    /// A field has a value that is not allowed; `BadRequest` names it.
    InvalidField = "INVALID_FIELD", InvalidArgument;
    /// More arguments and environment than the kernel takes.
    CommandTooLarge = "COMMAND_TOO_LARGE", InvalidArgument;
    /// No such program.
    ProgramNotFound = "PROGRAM_NOT_FOUND", NotFound;
    /// No such folder, or not one that may be entered.
    WorkingDirectoryNotFound = "WORKING_DIRECTORY_NOT_FOUND", NotFound;
    /// No such user.
    UserNotFound = "USER_NOT_FOUND", NotFound;
    /// No such execution, or another caller's.
    ExecutionNotFound = "EXECUTION_NOT_FOUND", NotFound;
    /// The program is there and cannot be executed.
    ProgramNotExecutable = "PROGRAM_NOT_EXECUTABLE", FailedPrecondition;
    /// A limit cannot be applied on this machine.
    LimitUnavailable = "LIMIT_UNAVAILABLE", FailedPrecondition;
    /// The server may not switch users.
    UserSwitchUnavailable = "USER_SWITCH_UNAVAILABLE", FailedPrecondition;
    /// stdin has ended.
    StdinClosed = "STDIN_CLOSED", FailedPrecondition;
    /// The execution has no terminal.
    NoTerminal = "NO_TERMINAL", FailedPrecondition;
    /// The execution has ended.
    ExecutionEnded = "EXECUTION_ENDED", FailedPrecondition;
    /// The execution has not ended.
    ExecutionRunning = "EXECUTION_RUNNING", FailedPrecondition;
    /// The execution's output is not kept, so it cannot be attached to.
    NotDurable = "NOT_DURABLE", FailedPrecondition;
    /// The record behind this `request_id` is gone; the id stays taken.
    RequestIdRetired = "REQUEST_ID_RETIRED", FailedPrecondition;
    /// The `request_id` stands for another request.
    RequestIdConflict = "REQUEST_ID_CONFLICT", AlreadyExists;
    /// The position is no longer kept.
    PositionGone = "POSITION_GONE", OutOfRange;
    /// The position is beyond the end.
    PositionAhead = "POSITION_AHEAD", OutOfRange;
    /// The chunk begins beyond what has been accepted.
    StdinHole = "STDIN_HOLE", OutOfRange;
    /// As many executions run as may.
    TooManyExecutions = "TOO_MANY_EXECUTIONS", ResourceExhausted;
    /// No room for another record.
    StorageFull = "STORAGE_FULL", ResourceExhausted;
    /// The machine has no pids, memory or descriptors left.
    SpawnFailed = "SPAWN_FAILED", ResourceExhausted;
    /// The token is not known.
    TokenInvalid = "TOKEN_INVALID", Unauthenticated;
    /// This local user, or this address, may not connect.
    PeerNotAllowed = "PEER_NOT_ALLOWED", PermissionDenied;
    /// The policy forbids it.
    PolicyDenied = "POLICY_DENIED", PermissionDenied;
    /// The server is shutting down.
    Draining = "DRAINING", Unavailable;
    /// A later version brings it.
    NotYet = "NOT_YET", Unimplemented;
}

impl Reason {
    /// The status with this reason, its code and `message`.
    pub fn status(self, message: impl Into<String>) -> Status {
        self.status_with(message, ErrorDetails::new())
    }

    /// As [`Self::status`], with a `BadRequest` that names `field`.
    pub fn field(self, field: impl Into<String>, message: impl Into<String>) -> Status {
        let (field, message) = (field.into(), message.into());
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation(field.clone(), message.clone());
        self.status_with(format!("{field}: {message}"), details)
    }

    /// As [`Self::status`], with a `RetryInfo` that says when to try again.
    pub fn retry_after(self, delay: Duration, message: impl Into<String>) -> Status {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(delay));
        self.status_with(message, details)
    }

    /// As [`Self::status`], with `metadata` in the `ErrorInfo`.
    pub fn with_metadata<const N: usize>(
        self,
        message: impl Into<String>,
        metadata: [(&str, String); N],
    ) -> Status {
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        let mut details = ErrorDetails::new();
        details.set_error_info(self.as_str(), DOMAIN, metadata);
        Status::with_error_details(self.code(), message, details)
    }

    fn status_with(self, message: impl Into<String>, mut details: ErrorDetails) -> Status {
        details.set_error_info(self.as_str(), DOMAIN, []);
        Status::with_error_details(self.code(), message, details)
    }

    /// The reason that `status` carries; `None` if it is not remex's, or of a later version.
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        (info.domain == DOMAIN)
            .then(|| info.reason.parse().ok())
            .flatten()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name is no reason of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownReason;

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown reason")
    }
}

impl std::error::Error for UnknownReason {}

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(name: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.as_str() == name)
            .ok_or(UnknownReason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for &reason in Reason::ALL {
            let status = reason.status("why");
            assert_eq!(Reason::of(&status), Some(reason));
            assert_eq!(status.code(), reason.code());
        }
    }

    #[test]
    fn details_are_beside_the_reason() {
        let status = Reason::InvalidField.field("command.user", "is empty");
        assert_eq!(Reason::of(&status), Some(Reason::InvalidField));
        assert_eq!(status.message(), "command.user: is empty");
        let bad = status
            .get_details_bad_request()
            .map(|bad| bad.field_violations);
        assert_eq!(
            bad.map(|fields| fields[0].field.clone()).as_deref(),
            Some("command.user")
        );

        let status = Reason::TooManyExecutions.retry_after(Duration::from_secs(1), "full");
        let retry = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        assert_eq!(retry, Some(Duration::from_secs(1)));
        assert_eq!(Reason::of(&status), Some(Reason::TooManyExecutions));
    }

    #[test]
    fn foreign_statuses_have_no_reason() {
        assert_eq!(Reason::of(&Status::internal("codec")), None);
    }
}

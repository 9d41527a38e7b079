//! Why a call was refused: the `google.rpc.ErrorInfo` that every status of remex carries.

use std::{fmt, str::FromStr, time::Duration};

use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every error that remex makes.
pub const DOMAIN: &str = "remex";

/// The metadata that is [`Reason::as_str`], for languages that cannot read `ErrorInfo`.
pub const REASON_METADATA: &str = "remex-reason";

/// What is left of a quoted value in a message.
pub const MAX_QUOTED_BYTES: usize = 256;

/// What is left of a message. With its details it fits into 8 KiB of headers, which is what clients take: more of them is
/// an error of its own there, which reads as overload.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// What is left of a field's name.
const MAX_FIELD_BYTES: usize = 320;

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
    /// More, or longer, arguments and environment than the kernel takes.
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
    /// An isolation cannot be applied on this machine.
    IsolationUnavailable = "ISOLATION_UNAVAILABLE", FailedPrecondition;
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
    /// The request is larger than the server takes.
    MessageTooLarge = "MESSAGE_TOO_LARGE", ResourceExhausted;
    /// The machine has no pids, memory or descriptors left.
    SpawnFailed = "SPAWN_FAILED", ResourceExhausted;
    /// No credential, or one that is not valid.
    TokenInvalid = "TOKEN_INVALID", Unauthenticated;
    /// This local user, or this address, may not connect.
    PeerNotAllowed = "PEER_NOT_ALLOWED", PermissionDenied;
    /// The policy forbids it.
    PolicyDenied = "POLICY_DENIED", PermissionDenied;
    /// The command ran, and some of its output is lost.
    OutputCut = "OUTPUT_CUT", Aborted;
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
        let whole = format!("{field}: {message}");
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation(
            fitting(field, MAX_FIELD_BYTES),
            fitting(message, MAX_MESSAGE_BYTES),
        );
        self.status_with(whole, details)
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
        self.status_of(message.into(), details)
    }

    fn status_with(self, message: impl Into<String>, mut details: ErrorDetails) -> Status {
        details.set_error_info(self.as_str(), DOMAIN, []);
        self.status_of(message.into(), details)
    }

    fn status_of(self, message: String, details: ErrorDetails) -> Status {
        let message = fitting(message, MAX_MESSAGE_BYTES);
        let mut metadata = MetadataMap::new();
        metadata.insert(REASON_METADATA, MetadataValue::from_static(self.as_str()));
        Status::with_error_details_and_metadata(self.code(), message, details, metadata)
    }

    /// The reason that `status` carries; `None` if it is not remex's, or of a later version.
    pub fn of(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        (info.domain == DOMAIN)
            .then(|| info.reason.parse().ok())
            .flatten()
    }
}

/// `text` with every quoted value in it cut at [`MAX_QUOTED_BYTES`], and all of it at `max`.
///
/// Values come from outside, in the quotes and with the escapes of `{:?}`.
fn fitting(text: String, max: usize) -> String {
    if text.len() <= MAX_QUOTED_BYTES.min(max) {
        return text;
    }
    let mut fitted = String::with_capacity(max);
    let mut is_escaped = false;
    // Bytes of the quoted value that this is in.
    let mut quoted = None;
    for character in text.chars() {
        match &mut quoted {
            None => {
                quoted = (character == '"').then_some(0);
                fitted.push(character);
            }
            Some(bytes) if character == '"' && !is_escaped => {
                if *bytes > MAX_QUOTED_BYTES {
                    fitted.push('…');
                }
                fitted.push(character);
                quoted = None;
            }
            Some(bytes) => {
                is_escaped = character == '\\' && !is_escaped;
                *bytes += character.len_utf8();
                if *bytes <= MAX_QUOTED_BYTES {
                    fitted.push(character);
                }
            }
        }
        if fitted.len() > max {
            fitted.truncate(fitted.floor_char_boundary(max - '…'.len_utf8()));
            fitted.push('…');
            break;
        }
    }
    fitted
}

/// The field that `status` blames, and for what; `None` if it blames none.
pub fn violation(status: &Status) -> Option<(String, String)> {
    let violations = status.get_details_bad_request()?.field_violations;
    let first = violations.into_iter().next()?;
    Some((first.field, first.description))
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
        let blamed = violation(&status);
        assert_eq!(blamed, Some(("command.user".into(), "is empty".into())));
        assert_eq!(violation(&Status::internal("")), None);
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

    /// For languages without google.rpc.
    #[test]
    fn the_reason_is_plain_metadata_too() {
        for &reason in Reason::ALL {
            for status in [
                reason.status("why"),
                reason.field("field", "why"),
                reason.retry_after(Duration::from_secs(1), "why"),
                reason.with_metadata("why", [("key", "value".into())]),
            ] {
                let said = status.metadata().get(REASON_METADATA);
                assert_eq!(said.unwrap(), reason.as_str());
            }
        }
    }

    #[test]
    fn quoted_values_are_cut() {
        let long = "x".repeat(1000);
        let at = format!("{:?} is at it", "x".repeat(MAX_QUOTED_BYTES));
        for (message, fits) in [
            ("short".to_owned(), "short".to_owned()),
            (at.clone(), at),
            (
                format!("no {long:?} in {:?}", "y"),
                format!("no \"{}…\" in \"y\"", "x".repeat(MAX_QUOTED_BYTES)),
            ),
            // An escaped quote ends nothing.
            (
                format!("no {:?}!", "\"".repeat(1000)),
                format!("no \"{}…\"!", "\\\"".repeat(MAX_QUOTED_BYTES / 2)),
            ),
            // Nothing is cut inside a character.
            (
                format!("no {:?}!", "€".repeat(100)),
                format!("no \"{}…\"!", "€".repeat(MAX_QUOTED_BYTES / 3)),
            ),
            (
                "z".repeat(MAX_MESSAGE_BYTES + 1),
                format!("{}…", "z".repeat(MAX_MESSAGE_BYTES - 3)),
            ),
        ] {
            assert_eq!(Reason::InvalidField.status(message).message(), fits);
        }
    }

    /// PITFALLS 52: an error text of 8 KiB is RESOURCE_EXHAUSTED to clients.
    #[test]
    fn pitfall_52_every_error_fits_into_a_clients_headers() {
        const CLIENT_HEADER_BYTES: usize = 8 * 1024;
        // A response has others.
        const OTHER_HEADERS: usize = 512;
        for value in ["x", "\u{1}", "é", "€", "\"", "\\"] {
            let value = value.repeat(100_000);
            let plain = format!("{value} {value:?}, {value:?} and {value:?} are nothing");
            for status in [
                Reason::ProgramNotFound.status(plain.clone()),
                Reason::InvalidField.field(format!("labels[{value:?}]"), plain.clone()),
                Reason::InvalidField.field(value.clone(), value.clone()),
            ] {
                let mut headers = http::HeaderMap::new();
                status.add_header(&mut headers).unwrap();
                let bytes: usize = headers
                    .iter()
                    .map(|(name, value)| name.as_str().len() + value.len() + 32)
                    .sum();
                assert!(bytes + OTHER_HEADERS <= CLIENT_HEADER_BYTES, "{bytes}");
            }
        }
    }

    #[test]
    fn foreign_statuses_have_no_reason() {
        assert_eq!(Reason::of(&Status::internal("codec")), None);
    }
}

//! Why there is no connection, or no answer; and whether the command of a call that failed can have run.

use std::{error::Error as StdError, io, sync::Arc};

use h2::Reason;
use thiserror::Error;
use tonic::{Code, Status};

use super::dial::CONNECT_TIMEOUT;
use crate::{CredentialsError, Endpoint};

/// A connection could not be had.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The socket cannot be connected.
    #[error("cannot connect to {endpoint}: {source}; {}", hint(endpoint, source))]
    Io {
        /// Where to.
        endpoint: Endpoint,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// Nothing came within [`CONNECT_TIMEOUT`].
    #[error("{endpoint} did not answer within {} s; check the address, the network, and that remexd runs there", CONNECT_TIMEOUT.as_secs())]
    TimedOut {
        /// Where to.
        endpoint: Endpoint,
    },
    /// The peer closed the connection without a word.
    #[error(
        "{endpoint} closed the connection at once; check that this is remexd's gRPC address, and remexd's log"
    )]
    Closed {
        /// Where to.
        endpoint: Endpoint,
    },
    /// The peer speaks something else.
    #[error("{endpoint} does not speak gRPC; check that this is remexd's gRPC address")]
    NotHttp2 {
        /// Where to.
        endpoint: Endpoint,
    },
    /// The peer speaks TLS, and was spoken to without.
    #[error("{endpoint} speaks TLS: write https:// in place of http://")]
    NeedsTls {
        /// Where to.
        endpoint: Endpoint,
    },
    /// TLS does not come about.
    #[error("cannot connect to {endpoint}: {why}")]
    Tls {
        /// Where to.
        endpoint: Endpoint,
        /// Whose certificate is wrong, and why.
        why: String,
    },
    /// A file of the client's own is of no use.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// A token would be sent for everybody to read.
    #[error(
        "{endpoint} is on another machine, and a token is not sent there unencrypted; write https:// in place of http://"
    )]
    TokenInPlaintext {
        /// Where to.
        endpoint: Endpoint,
    },
}

impl ConnectError {
    /// Why there was no connection for a call that ended with `status`; `None` if it ended otherwise.
    pub fn of(status: &Status) -> Option<&Self> {
        find(status)
    }
}

fn hint(endpoint: &Endpoint, error: &io::Error) -> &'static str {
    match (endpoint, error.kind()) {
        (Endpoint::Unix(_), io::ErrorKind::PermissionDenied) => {
            "the socket belongs to another user: ask its owner to let you in"
        }
        (Endpoint::Unix(_), io::ErrorKind::NotFound) => "check the path, and that remexd runs",
        _ => "check the address, and that remexd runs there",
    }
}

/// Why a call never reached the service, although there was a connection or might have been one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unsent {
    /// HTTP/2 did not ask for the request in time.
    #[error("the server takes no further call at the moment; try again later")]
    NoRoom,
    /// As many calls are under way as may be.
    #[error("as many calls are under way as may be; try again later")]
    TooMany,
    /// The connection ended before it was asked for.
    #[error("the connection to the server was lost before the call was sent; try again")]
    Lost,
    /// The server said that it has not looked at the call: REFUSED_STREAM, or a GOAWAY whose last stream is an earlier one.
    #[error("the server refused the call before it looked at it; try again")]
    Refused,
    /// The caller's deadline was over before.
    #[error("the deadline passed before the call was sent")]
    Deadline,
}

impl From<Unsent> for Status {
    fn from(unsent: Unsent) -> Self {
        let code = match unsent {
            Unsent::TooMany => Code::ResourceExhausted,
            Unsent::Deadline => Code::DeadlineExceeded,
            Unsent::NoRoom | Unsent::Lost | Unsent::Refused => Code::Unavailable,
        };
        let mut status = Self::new(code, unsent.to_string());
        status.set_source(Arc::new(unsent));
        status
    }
}

impl From<ConnectError> for Status {
    fn from(error: ConnectError) -> Self {
        let mut status = Self::unavailable(error.to_string());
        status.set_source(Arc::new(error));
        status
    }
}

/// Whether `status`, which a call over a [`Client`](crate::Client) ended with, came about before the service could see
/// the call: then its command has not run. Otherwise, and unless the server gave a reason, whether it ran is not known.
pub fn never_ran(status: &Status) -> bool {
    find::<Unsent>(status).is_some() || ConnectError::of(status).is_some()
}

/// The first `E` among `error` and what caused it.
pub(super) fn find<'error, E: StdError + 'static>(
    error: &'error (dyn StdError + 'static),
) -> Option<&'error E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What a call ends with that HTTP/2 has lost, `error` being why. What a service says itself is passed on.
pub(super) fn lost(error: &(dyn StdError + 'static)) -> Status {
    if let Some(error) = find::<ConnectError>(error) {
        return error.clone().into();
    }
    if let Some(unsent) = find::<Unsent>(error) {
        return (*unsent).into();
    }
    let Some(error) = find::<h2::Error>(error) else {
        return Status::unavailable(format!("the connection to the server was lost: {error}"));
    };
    match error.reason() {
        Some(reason) if error.is_reset() => reset(reason, error.is_remote()),
        // It ends the streams behind the last alone; what ends the others is the loss of the connection.
        Some(_) if error.is_go_away() && error.is_remote() => Unsent::Refused.into(),
        _ => Status::unavailable(format!("the connection to the server was lost: {error}")),
    }
}

fn reset(reason: Reason, by_peer: bool) -> Status {
    if reason == Reason::REFUSED_STREAM && by_peer {
        return Unsent::Refused.into();
    }
    let message = format!("the server cut the call off: {reason}");
    Status::new(code_of(reason), message)
}

/// The mapping of gRPC's PROTOCOL-HTTP2.
fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

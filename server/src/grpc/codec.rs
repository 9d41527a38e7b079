//! Errors that the gRPC library makes by itself, before or beside the services, with the reasons that all others have.

use http::Response;
use remex::error::{REASON_METADATA, Reason};
use tonic::{Code, Status, body::Body};

use super::routes::MAX_REQUEST_BYTES;

/// How the library's errors begin of a message that cannot be read, which it calls INTERNAL.
const UNREADABLE: [&str; 5] = [
    "Error decompressing",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "failed to decode Protobuf message",
    "protocol error",
];

/// `response`, with a reason if it is an error without one.
pub(super) fn with_reason(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if headers.contains_key(REASON_METADATA) || !headers.contains_key(Status::GRPC_STATUS) {
        return response;
    }
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => {
            let mut response = response;
            let reasoned: Response<Body> = error(status).into_http();
            // Its other headers stay: they say which compressions are taken.
            response
                .headers_mut()
                .extend(reasoned.into_parts().0.headers);
            response
        }
        _ => response,
    }
}

/// What `status`, of a request that could not be read or routed, is in remex's terms. Those that have a reason, and those
/// of other services, stay as they are.
pub(crate) fn error(status: Status) -> Status {
    if status.metadata().contains_key(REASON_METADATA) {
        return status;
    }
    let message = status.message();
    match status.code() {
        // By its length, or by what it unpacks to.
        Code::OutOfRange | Code::ResourceExhausted => Reason::MessageTooLarge.status(format!(
            "the request is larger than {MAX_REQUEST_BYTES} bytes; send stdin in chunks, by Interact or Write"
        )),
        Code::Internal if UNREADABLE.iter().any(|start| message.starts_with(start)) => {
            Reason::InvalidField.field("message", message)
        }
        Code::Unimplemented if message.is_empty() => {
            Reason::NotYet.status("this server has no such method")
        }
        Code::Unimplemented => Reason::NotYet.status(message),
        _ => status,
    }
}

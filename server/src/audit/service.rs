//! The calls of services, as the audit log observes them.

use http::{HeaderValue, Request, Response};
use remex_daemon::net::Caller;
use remex_gateway::CLIENT_ADDRESS_METADATA;
use tonic::{Status, body::Body};

use super::{AuditLog, CallRecord, line::Subject};
use crate::{execution::Through, observed::Observer};

/// A call finds its [`CallRecord`] in its request.
impl Observer for AuditLog {
    type Call = CallRecord;

    fn begins(&self, request: &mut Request<Body>) -> Option<CallRecord> {
        let log = self.0.as_ref()?;
        let caller = request.extensions().get::<Caller>()?;
        let client = request.headers().get(CLIENT_ADDRESS_METADATA);
        let through = Through::of(caller, client.map(HeaderValue::as_bytes));
        let subject = Subject::of(caller, &through);
        let rpc = rpc(request.uri().path()).to_owned();
        let record = CallRecord::new(log.clone(), subject, rpc);
        request.extensions_mut().insert(record.clone());
        Some(record)
    }

    fn answered(record: CallRecord, response: Response<Body>) -> Response<Body> {
        let error = Status::from_header_map(response.headers());
        let error = error.filter(|error| error.code() != tonic::Code::Ok);
        record.answered(error.as_ref());
        response
    }
}

/// What a call of `path` is called: remex's own by their names alone.
pub(crate) fn rpc(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = &path[..path.floor_char_boundary(MAX_RPC_BYTES)];
    match path.strip_prefix("remex.v1.") {
        Some(own) => own.split_once('/').map_or(own, |(_, name)| name),
        None => path,
    }
}

/// The most that is told of a path, which may be of no call that there is.
const MAX_RPC_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::rpc;

    #[test]
    fn calls_are_told_by_their_names() {
        for (path, name) in [
            ("/remex.v1.ExecService/Run", "Run"),
            ("/remex.v1.EchoService/EchoStream", "EchoStream"),
            (
                "/grpc.health.v1.Health/Check",
                "grpc.health.v1.Health/Check",
            ),
            ("/remex.v1.x", "x"),
            ("", ""),
        ] {
            assert_eq!(rpc(path), name);
        }
        assert_eq!(rpc(&"é".repeat(1000)).len(), 128);
    }
}

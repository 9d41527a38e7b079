//! A service whose calls are told.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use remex_daemon::net::Caller;
use remex_gateway::CLIENT_ADDRESS_METADATA;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::{AuditLog, CallRecord, line::Subject};
use crate::execution::Through;

/// Tells `log` each call of a service, which finds the call's [`CallRecord`] in its request.
#[derive(Debug, Clone)]
pub struct Audited<S> {
    inner: S,
    log: AuditLog,
}

impl<S> Audited<S> {
    /// The same as `inner`, and told.
    pub fn new(inner: S, log: AuditLog) -> Self {
        Self { inner, log }
    }
}

impl<S: NamedService> NamedService for Audited<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Audited<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = AuditedCall<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let record = self.record(&request);
        if let Some(record) = &record {
            request.extensions_mut().insert(record.clone());
        }
        AuditedCall {
            answer: self.inner.call(request),
            record,
        }
    }
}

impl<S> Audited<S> {
    fn record(&self, request: &Request<Body>) -> Option<CallRecord> {
        let log = self.log.0.as_ref()?;
        let caller = request.extensions().get::<Caller>()?;
        let client = request.headers().get(CLIENT_ADDRESS_METADATA);
        let through = Through::of(caller, client.map(http::HeaderValue::as_bytes));
        let subject = Subject::of(caller, &through);
        let rpc = rpc(request.uri().path()).to_owned();
        Some(CallRecord::new(log.clone(), subject, rpc))
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

/// A call that is being answered.
#[derive(Debug)]
pub struct AuditedCall<F> {
    answer: F,
    record: Option<CallRecord>,
}

impl<F> Future for AuditedCall<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answer).poll(context));
        if let Some(record) = self.record.take() {
            let error = Status::from_header_map(response.headers());
            record.answered(
                error
                    .filter(|error| error.code() != tonic::Code::Ok)
                    .as_ref(),
            );
        }
        Poll::Ready(Ok(response))
    }
}

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

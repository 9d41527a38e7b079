//! A call as a span.

use std::sync::Arc;

use http::Request;
use opentelemetry::{
    Context, KeyValue,
    propagation::TextMapPropagator,
    trace::{SpanKind, Status as SpanStatus, TraceContextExt, Tracer},
};
use remex::error::Reason;
use remex_daemon::net::{Caller, Transport};
use tonic::{Code, Status, body::Body};

use super::{PROPAGATOR, Telling, Traces, headers::TraceHeaders};

/// The most bytes that are told of a path, which may be of no call that there is.
const MAX_PATH_BYTES: usize = 128;

impl Traces {
    /// The span of a call that has come, part of its caller's trace if it names one; `None`: there are none.
    pub(in crate::traces) fn call(&self, request: &Request<Body>) -> Option<CallSpan> {
        let telling = self.0.as_ref()?;
        let headers = TraceHeaders(request.headers());
        let parent = PROPAGATOR.extract_with_context(&Context::new(), &headers);
        let context = match &telling.tracer {
            None => parent,
            Some(tracer) => {
                let path = request.uri().path();
                let caller = request.extensions().get::<Caller>();
                let builder = tracer.span_builder(name(path).to_owned());
                let builder = builder.with_kind(SpanKind::Server);
                let builder = builder.with_attributes(attributes(path, caller));
                let span = builder.start_with_context(tracer, &parent);
                parent.with_span(span)
            }
        };
        Some(CallSpan {
            trace: CallTrace(Some(InTrace {
                context,
                telling: Arc::clone(telling),
            })),
            is_over: false,
        })
    }
}

/// As OpenTelemetry's conventions name spans of RPCs: without the slash before it.
fn name(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    &path[..path.floor_char_boundary(MAX_PATH_BYTES)]
}

fn attributes(path: &str, caller: Option<&Caller>) -> Vec<KeyValue> {
    let (service, method) = name(path).rsplit_once('/').unwrap_or((name(path), ""));
    let mut attributes = vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", service.to_owned()),
        KeyValue::new("rpc.method", method.to_owned()),
    ];
    if let Some(caller) = caller {
        let transport = match caller.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Unix => "unix",
        };
        attributes.push(KeyValue::new("network.transport", transport));
        attributes.push(KeyValue::new("remex.caller", caller.to_string()));
        if let Some(listener) = caller.listener {
            attributes.push(KeyValue::new("remex.listener", listener));
        }
    }
    attributes
}

/// Where in a trace something is.
#[derive(Debug, Clone)]
pub(super) struct InTrace {
    pub(super) context: Context,
    pub(super) telling: Arc<Telling>,
}

/// The trace that a call is part of, for what it starts. Clones are the same; by default it is part of none.
#[derive(Debug, Clone, Default)]
pub struct CallTrace(pub(super) Option<InTrace>);

/// A call that is answered, or being so. Dropped before its status is known, it is a cancelled one.
#[derive(Debug)]
pub struct CallSpan {
    trace: CallTrace,
    is_over: bool,
}

impl CallSpan {
    /// For what the call starts.
    pub(in crate::traces) fn trace(&self) -> CallTrace {
        self.trace.clone()
    }

    /// It is answered with `status`.
    pub(in crate::traces) fn end(mut self, status: &Status) {
        self.over(status.code(), Reason::of(status));
    }

    fn over(&mut self, code: Code, reason: Option<Reason>) {
        self.is_over = true;
        let Some(InTrace { context, .. }) = &self.trace.0 else {
            return;
        };
        let span = context.span();
        span.set_attribute(KeyValue::new(
            "rpc.grpc.status_code",
            i64::from(code as i32),
        ));
        if code != Code::Ok {
            let kind =
                reason.map_or_else(|| format!("{code:?}"), |reason| reason.as_str().to_owned());
            span.set_attribute(KeyValue::new("error.type", kind));
        }
        if is_the_servers(code) {
            span.set_status(SpanStatus::error(""));
        }
        span.end();
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        if !self.is_over {
            self.over(Code::Cancelled, None);
        }
    }
}

/// Whether a call that ended so is a server's error, by OpenTelemetry's conventions: of the others their callers are the cause.
fn is_the_servers(code: Code) -> bool {
    match code {
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_named_by_service_and_method() {
        for (path, expected) in [
            ("/remex.v1.ExecService/Run", ("remex.v1.ExecService", "Run")),
            ("/x", ("x", "")),
            ("", ("", "")),
        ] {
            let told = attributes(path, None);
            let value = |key: &str| {
                let one = told.iter().find(|one| one.key.as_str() == key);
                one.unwrap().value.as_str().into_owned()
            };
            assert_eq!(value("rpc.system"), "grpc");
            let (service, method) = (value("rpc.service"), value("rpc.method"));
            assert_eq!((&*service, &*method), expected);
        }
        assert_eq!(name(&"é".repeat(1000)).len(), MAX_PATH_BYTES);
    }
}

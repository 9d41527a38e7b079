//! Calls and executions as OpenTelemetry's spans: one of each call of remex's own services, and below it one of each execution
//! that it starts, sent to a collector over OTLP. A caller's `traceparent` makes them part of its trace, which commands may be
//! handed. Without the feature `otlp` there are no spans, and `none` stands in for `otlp`.

mod service;
mod settings;

#[cfg(not(feature = "otlp"))]
#[path = "none.rs"]
mod spans;
#[cfg(feature = "otlp")]
#[path = "otlp/mod.rs"]
mod spans;

pub use self::{
    settings::{ENDPOINT_VARIABLES, HANDED_VARIABLES, HandedOver, TraceSettings, handed_over},
    spans::{CallSpan, CallTrace, ExecutionSpan, Traces, TracesError},
};

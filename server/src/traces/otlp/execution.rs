//! An execution as a span, below that of the call that starts it.

use std::{collections::HashMap, ffi::CString, mem};

use opentelemetry::{
    KeyValue,
    propagation::TextMapPropagator,
    trace::{Status, TraceContextExt, Tracer},
};
use remex_supervisor::process::{CommandSpec, ExitStatus};
use uuid::Uuid;

use super::{
    PROPAGATOR,
    call::{CallTrace, InTrace},
};
use crate::{execution::EndRecord, service::exit_of_record, traces::HANDED_VARIABLES};

/// The most characters of a program's name.
const PROGRAM_CHARACTERS: usize = 256;

impl CallTrace {
    /// The span of an execution of `spec`, which begins now.
    pub(crate) fn execution(&self, spec: &CommandSpec) -> ExecutionSpan {
        let below = self.0.clone().map(|InTrace { context, telling }| {
            let context = match &telling.tracer {
                None => context,
                Some(tracer) => {
                    let program = program(spec);
                    let builder = tracer.span_builder(program.clone());
                    let attribute = KeyValue::new("process.executable.name", program);
                    let builder = builder.with_attributes([attribute]);
                    let span = builder.start_with_context(tracer, &context);
                    context.with_span(span)
                }
            };
            InTrace { context, telling }
        });
        ExecutionSpan(below)
    }
}

/// The name of the file that is executed: never an argument.
fn program(spec: &CommandSpec) -> String {
    let program = spec.argv.first().map(|program| program.to_string_lossy());
    let program = program.unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    name.chars().take(PROGRAM_CHARACTERS).collect()
}

/// An execution that starts, or runs. Dropped before its end, nobody has seen that. By default it is no span.
#[derive(Debug, Default)]
pub struct ExecutionSpan(Option<InTrace>);

impl ExecutionSpan {
    /// What its command is handed of it, `NAME=VALUE` each.
    pub(crate) fn variables(&self) -> Vec<CString> {
        let Some(InTrace { context, telling }) = &self.0 else {
            return Vec::new();
        };
        let handed_over = telling.handed_over;
        if !handed_over.is_any() {
            return Vec::new();
        }
        let mut carried = HashMap::new();
        PROPAGATOR.inject_context(context, &mut carried);
        let [parent, state] = HANDED_VARIABLES;
        let wanted = [
            ("traceparent", parent, handed_over.parent),
            ("tracestate", state, handed_over.state),
        ];
        let variables = wanted.into_iter().filter(|(.., is_wanted)| *is_wanted);
        let variables = variables.filter_map(|(header, name, _)| {
            let value = carried.get(header).filter(|value| !value.is_empty())?;
            CString::new(format!("{name}={value}")).ok()
        });
        variables.collect()
    }

    /// It runs, as the execution `id` and the process `pid`.
    pub(crate) fn started(&self, id: Uuid, pid: i32) {
        if let Some(InTrace { context, .. }) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("remex.execution.id", id.to_string()));
            span.set_attribute(KeyValue::new("process.pid", i64::from(pid)));
        }
    }

    /// It has ended.
    pub(crate) fn end(mut self, end: &EndRecord) {
        let Some(InTrace { context, telling }) = mem::take(&mut self.0) else {
            return;
        };
        // The span above it is that of a call, perhaps of a caller's.
        if telling.tracer.is_none() {
            return;
        }
        let span = context.span();
        match end.exit.outcome.status {
            Some(ExitStatus::Code(code)) => {
                span.set_attribute(KeyValue::new("process.exit.code", i64::from(code)));
            }
            Some(ExitStatus::Signal { number, .. }) => {
                span.set_attribute(KeyValue::new("remex.exit.signal", i64::from(number)));
            }
            None => {}
        }
        span.set_attribute(KeyValue::new("remex.exit.reason", exit_of_record(end)));
        if end.exit.outcome.status != Some(ExitStatus::Code(0)) {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Drop for ExecutionSpan {
    fn drop(&mut self) {
        if let Some(InTrace { context, .. }) = &self.0 {
            let span = context.span();
            span.set_status(Status::error("not started, or not seen to its end"));
            span.end();
        }
    }
}

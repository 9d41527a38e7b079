//! What there is of traces in a build without them: nothing.

use std::{convert::Infallible, ffi::CString, fmt, time::Duration};

use http::Request;
use remex_daemon::metrics::{MetricSource, Samples};
use remex_supervisor::process::CommandSpec;
use tonic::{Status, body::Body};
use uuid::Uuid;

use super::TraceSettings;
use crate::execution::EndRecord;

/// They cannot be told.
pub type TracesError = Infallible;

/// None.
#[derive(Debug, Clone, Default)]
pub struct Traces(());

#[expect(
    clippy::unused_self,
    clippy::unused_async,
    reason = "as with the feature `otlp`"
)]
impl Traces {
    /// None, whatever is asked for: the configuration asks for nothing.
    pub fn start(_: &TraceSettings) -> Result<Self, TracesError> {
        Ok(Self(()))
    }

    pub(super) fn call(&self, _: &Request<Body>) -> Option<CallSpan> {
        None
    }

    /// Nothing is left.
    pub async fn finish(&self, _: Duration) -> bool {
        true
    }
}

impl MetricSource for Traces {
    fn tell(&self, _: &mut Samples<'_>) -> fmt::Result {
        Ok(())
    }
}

/// There is none.
#[derive(Debug)]
pub struct CallSpan(Infallible);

impl CallSpan {
    pub(super) fn trace(&self) -> CallTrace {
        match self.0 {}
    }

    pub(super) fn end(self, _: &Status) {
        match self.0 {}
    }
}

/// A call that is part of no trace.
#[derive(Debug, Clone, Default)]
pub struct CallTrace(());

#[expect(clippy::unused_self, reason = "as with the feature `otlp`")]
impl CallTrace {
    pub(crate) fn execution(&self, _: &CommandSpec) -> ExecutionSpan {
        ExecutionSpan(())
    }
}

/// An execution that is no span.
#[derive(Debug, Default)]
pub struct ExecutionSpan(());

#[expect(clippy::unused_self, reason = "as with the feature `otlp`")]
impl ExecutionSpan {
    pub(crate) fn variables(&self) -> Vec<CString> {
        Vec::new()
    }

    pub(crate) fn started(&self, _: Uuid, _: i32) {}

    pub(crate) fn end(self, _: &EndRecord) {}
}

//! Spans by OpenTelemetry's library. What ends is queued, and a task sends it; nothing here waits for the collector.

mod call;
mod execution;
mod export;
mod headers;

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig, WithTonicConfig,
    tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use remex_daemon::metrics::{MetricSource, Samples};

use self::export::{Exporting, SpanCounts};
pub use self::{
    call::{CallSpan, CallTrace},
    execution::ExecutionSpan,
};
use super::{HandedOver, TraceSettings};

/// What the service is called where nothing else is configured.
const SERVICE: &str = "remexd";

/// Reads and writes `traceparent` and `tracestate`, as the W3C has them.
static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// Spans cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TracesError(#[from] ExporterBuildError);

/// Where spans are made. Clones are the same; by default there are none.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Telling>>);

#[derive(Debug)]
struct Telling {
    /// `None`: nobody is told, and commands are handed what the call brought.
    tracer: Option<SdkTracer>,
    handed_over: HandedOver,
    counts: SpanCounts,
    exporting: Mutex<Option<Exporting>>,
}

impl Traces {
    /// Begins to tell what `settings` name, if anything; in a runtime.
    pub fn start(settings: &TraceSettings) -> Result<Self, TracesError> {
        let TraceSettings {
            endpoint,
            handed_over,
        } = settings;
        let counts = SpanCounts::default();
        let (tracer, exporting) = match endpoint {
            None if !handed_over.is_any() => return Ok(Self::default()),
            None => (None, None),
            Some(endpoint) => {
                let resource = resource();
                let (queue, exporting) = Exporting::begin(exporter(endpoint)?, &resource, &counts);
                let provider = SdkTracerProvider::builder().with_span_processor(queue);
                let provider = provider.with_resource(resource).build();
                (Some(provider.tracer(SERVICE)), Some(exporting))
            }
        };
        Ok(Self(Some(Arc::new(Telling {
            tracer,
            handed_over: *handed_over,
            counts,
            exporting: Mutex::new(exporting),
        }))))
    }

    /// Sends what is left, for so long at most; `false`: it was longer.
    pub async fn finish(&self, patience: Duration) -> bool {
        let exporting = self.0.as_ref().and_then(|telling| {
            let exporting = telling.exporting.lock();
            exporting.unwrap_or_else(PoisonError::into_inner).take()
        });
        match exporting {
            Some(exporting) => exporting.finish(patience).await,
            None => true,
        }
    }
}

impl MetricSource for Traces {
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result {
        let counts = self.0.as_ref().map(|telling| &telling.counts);
        let help = "Spans that a collector has taken.";
        samples.counter(
            "remex_trace_spans_exported",
            help,
            counts.map_or(0, SpanCounts::exported),
        )?;
        let help = "Spans that were dropped, since no collector took them in time.";
        samples.counter(
            "remex_trace_spans_dropped",
            help,
            counts.map_or(0, SpanCounts::dropped),
        )
    }
}

/// What sends spans to the collector at `endpoint`; its other settings are in OpenTelemetry's variables.
fn exporter(endpoint: &str) -> Result<SpanExporter, ExporterBuildError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    if endpoint.starts_with("https:") {
        let roots = ClientTlsConfig::new().with_native_roots();
        return exporter.with_tls_config(roots).build();
    }
    exporter.build()
}

/// What remexd is, to a collector; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` beat it.
fn resource() -> Resource {
    let own = [
        KeyValue::new("service.name", SERVICE),
        KeyValue::new("service.version", remex::VERSION),
        KeyValue::new("process.pid", i64::from(std::process::id())),
        KeyValue::new(
            "host.name",
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        ),
    ];
    let mut builder = Resource::builder();
    let named = Resource::builder().build();
    for attribute in own {
        let is_named = named.get(&attribute.key).is_some_and(|value| {
            // What the library says where nobody says anything.
            !value.as_str().starts_with("unknown_service")
        });
        if !is_named {
            builder = builder.with_attribute(attribute);
        }
    }
    builder.build()
}

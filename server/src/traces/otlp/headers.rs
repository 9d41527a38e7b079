//! A request's headers, as far as a trace is in them.

use http::HeaderMap;
use opentelemetry::propagation::Extractor;

/// The longest `tracestate` that is kept, in bytes: what the W3C asks everybody to keep. Spans have it until they are sent.
const MAX_STATE_BYTES: usize = 512;

const PARENT: &str = "traceparent";

/// Whether each part of a `traceparent` has its length, which the propagator does not look at. Versions to come may have more parts.
fn has_parents_shape(text: &str) -> bool {
    let mut parts = text.split('-').map(str::len);
    [2, 32, 16, 2]
        .iter()
        .all(|length| parts.next() == Some(*length))
}

/// For the propagator.
pub(super) struct TraceHeaders<'a>(pub(super) &'a HeaderMap);

impl Extractor for TraceHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        // Of several none is right.
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        let text = value.to_str().ok()?;
        let is_taken = text.len() <= MAX_STATE_BYTES && (key != PARENT || has_parents_shape(text));
        is_taken.then_some(text)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::{
        Context,
        propagation::TextMapPropagator,
        trace::{SpanContext, TraceContextExt},
    };

    use super::{super::PROPAGATOR, *};

    const VALUE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn found(headers: &[(&'static str, &str)]) -> SpanContext {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let context = PROPAGATOR.extract_with_context(&Context::new(), &TraceHeaders(&map));
        context.span().span_context().clone()
    }

    #[test]
    fn a_callers_trace_is_taken_up() {
        let context = found(&[("traceparent", VALUE), ("tracestate", "a=1,b=2")]);
        assert_eq!(
            context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled() && context.is_remote());
        assert_eq!(context.trace_state().header(), "a=1,b=2");
    }

    #[test]
    fn what_is_no_trace_is_none() {
        for parent in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        ] {
            assert!(!found(&[("traceparent", parent)]).is_valid(), "{parent}");
        }
        let twice = [("traceparent", VALUE), ("traceparent", VALUE)];
        assert!(!found(&twice).is_valid());
    }

    #[test]
    fn a_long_state_is_left_behind() {
        let long = format!("a={}", "x".repeat(MAX_STATE_BYTES));
        let context = found(&[("traceparent", VALUE), ("tracestate", &long)]);
        assert!(context.is_valid());
        assert_eq!(context.trace_state().header(), "");
    }
}

//! What is configured of traces. Pure.

/// Where OpenTelemetry's own variables name a collector; the first that is set counts.
pub const ENDPOINT_VARIABLES: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// The variables that a command is handed its call's trace in, in the order of [`HandedOver`]'s fields.
pub const HANDED_VARIABLES: [&str; 2] = ["TRACEPARENT", "TRACESTATE"];

/// Where spans go, and what of them commands get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceSettings {
    /// The collector, `http://HOST:PORT` or `https://HOST:PORT`; `None`: nobody is told.
    pub endpoint: Option<String>,
    /// What commands are handed.
    pub handed_over: HandedOver,
}

/// What of its call's trace a command is handed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandedOver {
    /// `TRACEPARENT`: the trace, and the span that the command is.
    pub parent: bool,
    /// `TRACESTATE`: what tracing systems add.
    pub state: bool,
}

impl HandedOver {
    /// Whether it is anything.
    pub fn is_any(self) -> bool {
        self.parent || self.state
    }
}

/// What of `names`, which are to be passed on to commands, is a call's, and what the server's own.
pub fn handed_over(names: &[String]) -> (HandedOver, Vec<String>) {
    let [parent, state] = HANDED_VARIABLES.map(|name| names.iter().any(|other| other == name));
    let others = names.iter();
    let others = others.filter(|name| !HANDED_VARIABLES.contains(&&***name));
    (HandedOver { parent, state }, others.cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::handed_over;

    #[test]
    fn what_is_a_calls_is_no_variable_of_the_server() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let (handed, others) = handed_over(&names(&["A", "TRACEPARENT", "B"]));
        assert!(handed.parent && !handed.state && handed.is_any());
        assert_eq!(others, names(&["A", "B"]));
        assert!(!handed_over(&names(&["traceparent"])).0.is_any());
    }
}

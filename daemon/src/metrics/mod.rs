//! Metrics in Prometheus' text format, on a listener of their own that only this machine reaches. What there is to tell is asked
//! of its [`MetricSource`] when somebody scrapes; whoever counts pays for a relaxed atomic, and waits for no scraper.
//!
//! Hops: [`MetricsEndpoint`] -> [`MetricsListener`] -> `scrape` (is it one?) -> [`Metrics`] -> each [`MetricSource`], into [`Samples`] -> `classic`, for
//! scrapers that do not know OpenMetrics.

mod classic;
mod endpoint;
mod listener;
mod process;
mod samples;
mod scrape;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    registry::Registry,
};

use self::process::Process;
pub use self::{
    endpoint::{MetricsEndpoint, MetricsRenewal},
    listener::{MetricsListener, SCRAPE_TIME, SCRAPERS, address},
    samples::Samples,
};

/// What has something to tell. The names of its samples, and the values of their labels, are a fixed number, whatever callers do.
pub trait MetricSource: Send + Sync + 'static {
    /// Tells it.
    fn tell(&self, samples: &mut Samples<'_>) -> fmt::Result;
}

/// All there is to tell.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// Of a daemon of this version: since when it runs, and what its log has lost.
    pub fn new(version: &'static str) -> Self {
        let mut metrics = Self(Registry::default());
        metrics.add(Process::new(version));
        metrics
    }

    /// And of `source`, whose names nobody else has.
    pub fn add(&mut self, source: impl MetricSource) {
        self.0.register_collector(Box::new(Told(source)));
    }

    /// All of it, in OpenMetrics' text format.
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }
}

/// A source, as the library wants it.
struct Told<S>(S);

impl<S> fmt::Debug for Told<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl<S: MetricSource> Collector for Told<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.tell(&mut Samples::new(encoder))
    }
}

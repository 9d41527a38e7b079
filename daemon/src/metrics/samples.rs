//! How a source tells its samples.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// What is told so far.
pub struct Samples<'a>(DescriptorEncoder<'a>);

impl<'a> Samples<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// What only grows; `_total` is added to its name.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    /// Seconds, which only grow.
    pub fn seconds(&mut self, name: &str, help: &str, value: Duration) -> fmt::Result {
        let metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value.as_secs_f64()).encode(metric)
    }

    /// The same as [`Self::counter`], for each of some things, which are told apart by labels.
    pub fn counters<const LABELS: usize, V: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&'static str; LABELS],
        values: impl IntoIterator<Item = ([V; LABELS], u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (of, value) in values {
            let set = labelled(&labels, &of);
            let metric = family.encode_family(&set)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }

    /// What grows and shrinks.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    /// What is there, with what there is to say of it.
    pub fn info(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        value: &str,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        let set = [(label, value)];
        let metric = family.encode_family(&set)?;
        ConstGauge::new(1_u64).encode(metric)
    }

    /// Durations: how many were no longer than each of `bounds` and longer than the one before, those beyond the last behind them.
    pub fn durations(
        &mut self,
        name: &str,
        help: &str,
        bounds: &[Duration],
        counts: &[u64],
        sum: Duration,
    ) -> fmt::Result {
        let kind = MetricType::Histogram;
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        let bounds = bounds
            .iter()
            .map(Duration::as_secs_f64)
            .chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(counts.iter().copied()).collect();
        let all = counts.iter().sum();
        metric.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), all, &buckets, None)
    }
}

impl fmt::Debug for Samples<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Samples")
    }
}

fn labelled<'a, V: AsRef<str>>(
    labels: &[&'static str],
    values: &'a [V],
) -> Vec<(&'static str, &'a str)> {
    let values = values.iter().map(AsRef::as_ref);
    labels.iter().copied().zip(values).collect()
}

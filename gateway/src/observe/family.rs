//! A small facade over the `prometheus` crate: counters, gauges and histograms in tables that are indexed by enums.
//!
//! Gets: names, help and closed sets of labels. Gives: series that exist at zero from the start and cost one addition to change.
//! Never: a label that is not of a closed set, a look-up by name or hash while the node serves, a global registry.

use std::marker::PhantomData;

use prometheus::core::Collector;
use prometheus::{Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::labels::Labels;

/// All series of one metric, one for each combination of its labels.
pub(super) struct Family<M, L> {
    series: Vec<M>,
    labels: PhantomData<fn(L)>,
}

impl<M, L: Labels> Family<M, L> {
    /// The series with these labels.
    pub(super) fn at(&self, labels: L) -> &M {
        &self.series[labels.index()]
    }
}

/// Makes metrics and registers them.
pub(super) struct Maker<'a> {
    pub(super) registry: &'a Registry,
}

impl Maker<'_> {
    /// Counters of one metric.
    pub(super) fn counters<L: Labels>(&self, name: &str, help: &str, labels: &[&str]) -> Family<IntCounter, L> {
        let all = self.register(IntCounterVec::new(options(name, help), labels));
        self.family(|words| all.get_metric_with_label_values(words))
    }

    /// Gauges of one metric.
    pub(super) fn gauges<L: Labels>(&self, name: &str, help: &str, labels: &[&str]) -> Family<IntGauge, L> {
        let all = self.register(IntGaugeVec::new(options(name, help), labels));
        self.family(|words| all.get_metric_with_label_values(words))
    }

    /// Histograms of one metric; `buckets` in seconds.
    pub(super) fn histograms<L: Labels>(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Family<Histogram, L> {
        let options = HistogramOpts { common_opts: options(name, help), buckets: buckets.to_vec() };
        let all = self.register(HistogramVec::new(options, labels));
        self.family(|words| all.get_metric_with_label_values(words))
    }

    /// One counter.
    pub(super) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(options(name, help)))
    }

    /// One gauge.
    pub(super) fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(options(name, help)))
    }

    /// One gauge of fractions.
    pub(super) fn real_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(options(name, help)))
    }

    /// One counter of fractions.
    pub(super) fn real_counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::with_opts(options(name, help)))
    }

    /// Gauges by one label that is no closed set: whoever sets it keeps one series of it.
    pub(super) fn gauge_of_one_label(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.register(IntGaugeVec::new(options(name, help), &[label]))
    }

    /// One histogram; `buckets` in seconds.
    pub(super) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts { common_opts: options(name, help), buckets: buckets.to_vec() }))
    }

    /// One gauge that is always 1 and says something in its labels.
    pub(super) fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) {
        let names: Vec<&str> = labels.iter().map(|(name, _)| *name).collect();
        let values: Vec<&str> = labels.iter().map(|(_, value)| *value).collect();
        let info = self.register(GaugeVec::new(options(name, help), &names));
        sound(info.get_metric_with_label_values(&values)).set(1.0);
    }

    /// A counter of fractions, under a name that has its prefix already.
    pub(super) fn plain_counter(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::with_opts(Opts::new(name, help)))
    }

    /// A gauge of fractions, under a name that has its prefix already.
    pub(super) fn plain_gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(Opts::new(name, help)))
    }

    fn family<M, L: Labels>(&self, series: impl Fn(&[&str]) -> prometheus::Result<M>) -> Family<M, L> {
        let series = L::words().iter().map(|words| sound(series(words))).collect();
        Family { series, labels: PhantomData }
    }

    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = sound(made);
        sound(self.registry.register(Box::new(made.clone())));
        made
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("ftps_gateway")
}

/// Names and labels are constants of this room: they are wrong (or registered twice) always or never, and every test that makes a `Metrics` would see it.
#[allow(clippy::expect_used)]
fn sound<T>(made: prometheus::Result<T>) -> T {
    made.expect("metric names and labels are constants")
}

/// A resumed handshake takes half a millisecond, one over a bad line a second.
pub(super) const HANDSHAKE_SECONDS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// A page in memory, a disk, a file server that thinks about it.
pub(super) const STORAGE_SECONDS: &[f64] = &[0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0];
/// 1 ms to 10 s.
pub(super) const COMMAND_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// 0.1 s to 1 h.
pub(super) const TRANSFER_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
/// One second (a script) to six days (`limits.session_max`).
pub(super) const SESSION_SECONDS: &[f64] = &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 518_400.0];

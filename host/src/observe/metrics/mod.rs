//! Instruments of what passes by: counters and histograms that are written at work and read at `/metrics`.
//!
//! Whoever works has a handle and writes into atomics; nobody waits for who reads. What can be said from the
//! [`Board`](super::Board) is not counted again here: [`exposition`](expose::exposition) reads it at that moment.
//! Names and units follow the conventions of Prometheus; `docs/metrics.md` explains each.

mod expose;
mod requests;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

pub use expose::{CONTENT_TYPE, exposition};
pub use requests::Requests;

/// Bounds of the histogram of freshness, in seconds: 10 s is the promise.
const FRESHNESS: [f64; 12] = [0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 20.0, 60.0, 300.0];
/// Bounds of the histograms of commits and requests, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// The instruments of one host.
pub struct Meters {
    registry: Registry,
    /// Events fetched, whether they are committed or read again.
    pub source_events: IntCounter,
    /// Their bytes: keys, values and headers.
    pub source_bytes: IntCounter,
    /// Processor time of decoding and encoding, in nanoseconds.
    decode: IntCounter,
    encode: IntCounter,
    freshness: Histogram,
    steps: HistogramVec,
    /// Bytes of epochs that are stored and not yet visible.
    pub staged: IntGauge,
    /// Failed calls of transforms: name, kind.
    failures: IntCounterVec,
    /// Requests to S3 and Glue.
    pub requests: Requests,
}

/// A stage whose processor time is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// JSON to columns.
    Decode,
    /// Rows to Parquet.
    Encode,
}

/// A step of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From asking the lanes for their epochs to having them.
    Barrier,
    /// Files and states are stored.
    Stage,
    /// The record is in the log: the epochs are true.
    Record,
    /// Readers see the files.
    Publish,
    /// The catalog knows their hours.
    Register,
    /// All of them, one after the other.
    Total,
}

impl Step {
    /// Its label.
    pub fn name(self) -> &'static str {
        match self {
            Step::Barrier => "barrier",
            Step::Stage => "stage",
            Step::Record => "record",
            Step::Publish => "publish",
            Step::Register => "register",
            Step::Total => "total",
        }
    }
}

impl Meters {
    /// Counts what was fetched.
    pub fn fetched(&self, events: u64, bytes: u64) {
        self.source_events.inc_by(events);
        self.source_bytes.inc_by(bytes);
    }

    /// Counts processor time of a stage.
    pub fn busy(&self, stage: Stage, time: Duration) {
        let counter = match stage {
            Stage::Decode => &self.decode,
            Stage::Encode => &self.encode,
        };
        counter.inc_by(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A step of a commit took so long.
    pub fn step(&self, step: Step, time: Duration) {
        self.steps.with_label_values(&[step.name()]).observe(time.as_secs_f64());
    }

    /// The oldest event of a partition in a commit was so old when readers could see it.
    pub fn fresh(&self, age: Duration) {
        self.freshness.observe(age.as_secs_f64());
    }

    /// A call of a transform came to nothing.
    pub fn failed(&self, transform: &str, kind: &str) {
        self.failures.with_label_values(&[transform, kind]).inc();
    }
}

impl Default for Meters {
    fn default() -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        register_process(&registry);
        let counter = |name, help| register(&registry, IntCounter::new(name, help));
        let histogram = |name, help, bounds: &[f64]| HistogramOpts::new(name, help).buckets(bounds.to_vec());
        Meters {
            source_events: counter(
                "tidemill_source_events_total",
                "Events fetched from Kafka, read again or not.",
            ),
            source_bytes: counter("tidemill_source_bytes_total", "Bytes of their keys, values and headers."),
            decode: unregistered("decode"),
            encode: unregistered("encode"),
            freshness: register(
                &registry,
                Histogram::with_opts(histogram(
                    "tidemill_freshness_seconds",
                    "Age of a partition's oldest event in a commit, by its Kafka timestamp, when readers can see it.",
                    &FRESHNESS,
                )),
            ),
            steps: register(
                &registry,
                HistogramVec::new(
                    histogram("tidemill_commit_duration_seconds", "Time of a commit, by step.", &SECONDS),
                    &["step"],
                ),
            ),
            staged: register(
                &registry,
                IntGauge::new("tidemill_staged_bytes", "Bytes of files that are stored and not yet visible."),
            ),
            failures: register(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "tidemill_transform_failures_total",
                        "Calls of a transform that came to nothing, by kind.",
                    ),
                    &["transform", "kind"],
                ),
            ),
            requests: Requests::new(&registry),
            registry,
        }
    }
}

/// Memory, processor time and open files of the process.
#[cfg(target_os = "linux")]
fn register_process(registry: &Registry) {
    let process = prometheus::process_collector::ProcessCollector::for_self();
    if let Err(e) = registry.register(Box::new(process)) {
        tracing::debug!("no metrics of the process: {e}");
    }
}

fn unregistered(name: &str) -> IntCounter {
    made(IntCounter::new(name, name))
}

/// Names are constants, each used once: a mistake shows in the first test.
#[expect(clippy::expect_used, reason = "names and labels are constants of this module")]
fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("a metric of constant name and labels")
}

#[expect(clippy::expect_used, reason = "names are constants of this module, each used once")]
fn register<T: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<T>) -> T {
    let metric = made(metric);
    registry.register(Box::new(metric.clone())).expect("a metric is registered once");
    metric
}

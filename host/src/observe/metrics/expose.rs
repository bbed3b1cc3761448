//! `/metrics`: what the instruments counted, and what the board says right now, in the text format of Prometheus.
//!
//! Label sets are bounded: tables and transforms by the sets that are known, partitions by those that this host has,
//! reasons by the board.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts, TextEncoder};

use super::{Meters, made};
use crate::batch::Counts;
use crate::observe::{At, Deeds, PartitionStatus, Snapshot, Status, TransformState, TransformStatus};

/// The content type of what [`exposition`] gives.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// All metrics of a host.
pub fn exposition(meters: &Meters, status: &Status, counted: &Snapshot) -> String {
    let mut families = meters.registry.gather();
    let mut page = Page::default();
    page.host(meters, status, counted);
    page.tables(counted);
    page.rejects(status);
    page.partitions(status);
    page.transforms(status, counted);
    families.extend(page.0);
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = String::new();
    // Into a string, and names are constants: nothing can fail.
    if let Err(e) = TextEncoder::new().encode_utf8(&families, &mut text) {
        tracing::error!("cannot write metrics: {e}");
    }
    text
}

/// Metrics of this moment.
#[derive(Default)]
struct Page(Vec<MetricFamily>);

/// Values of one metric, each with the values of its labels.
type Values<'a, T> = Vec<(Vec<&'a str>, T)>;

impl Page {
    fn gauge(&mut self, name: &str, help: &str, labels: &[&str], values: Values<'_, f64>) {
        let gauges = made(GaugeVec::new(Opts::new(name, help), labels));
        values.iter().for_each(|(with, value)| gauges.with_label_values(with).set(*value));
        self.add(&gauges, values.is_empty());
    }

    fn counter(&mut self, name: &str, help: &str, labels: &[&str], values: Values<'_, f64>) {
        let counters = made(CounterVec::new(Opts::new(name, help), labels));
        values.iter().for_each(|(with, value)| counters.with_label_values(with).inc_by(*value));
        self.add(&counters, values.is_empty());
    }

    /// A family without metrics cannot be written.
    fn add(&mut self, metrics: &impl Collector, empty: bool) {
        if !empty {
            self.0.extend(metrics.collect());
        }
    }

    fn host(&mut self, meters: &Meters, status: &Status, counted: &Snapshot) {
        let one = |value: f64| vec![(vec![], value)];
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        let version = status.host.version.as_str();
        self.gauge(
            "tidemill_build_info",
            "The version of tidemill.",
            &["version"],
            vec![(vec![version], 1.0)],
        );
        self.gauge(
            "tidemill_start_time_seconds",
            "When the host started.",
            &[],
            one(unix(status.host.started)),
        );
        self.gauge("tidemill_ready", "Whether the host does its work.", &[], one(truth(status.ready)));
        self.gauge(
            "tidemill_attention",
            "Things that need a person; tidemill status says which.",
            &[],
            one(status.attention.len() as f64),
        );
        self.counter(
            "tidemill_decode_seconds_total",
            "Processor time of decoding events.",
            &[],
            one(seconds(meters.decode.get())),
        );
        self.counter(
            "tidemill_encode_seconds_total",
            "Processor time of encoding rows as Parquet.",
            &[],
            one(seconds(meters.encode.get())),
        );
        self.counter("tidemill_events_total", "Events committed.", &[], one(counted.events as f64));
        self.counter(
            "tidemill_commits_total",
            "Commits with anything in them.",
            &[],
            one(counted.commits as f64),
        );
        self.counter(
            "tidemill_abandoned_epochs_total",
            "Epochs of lanes that came to nothing; their events were read again.",
            &[],
            one(counted.abandoned as f64),
        );
        let last = status.last_commit.iter().map(|last| (vec![], unix(last.at))).collect();
        self.gauge("tidemill_last_commit_timestamp_seconds", "When the last commit was made.", &[], last);
        self.counter(
            "tidemill_transform_swaps_total",
            "Times that lanes went over to other transforms.",
            &[],
            one(counted.swaps as f64),
        );
        self.counter(
            "tidemill_transform_refusals_total",
            "Changes of transforms that were not taken in.",
            &[],
            one(counted.refusals as f64),
        );
        self.gauge(
            "tidemill_transforms_refused",
            "Changes of transforms that are not taken in now.",
            &[],
            one(status.refused.len() as f64),
        );
    }

    fn tables(&mut self, counted: &Snapshot) {
        for (name, help, values) in [
            ("tidemill_table_rows_total", "Rows committed, by table.", &counted.rows),
            ("tidemill_table_files_total", "Files committed, by table.", &counted.files),
            ("tidemill_table_bytes_total", "Bytes of those files.", &counted.table_bytes),
        ] {
            let values = values.iter().map(|(table, n)| (vec![table.as_str()], *n as f64)).collect();
            self.counter(name, help, &["table"], values);
        }
    }

    fn rejects(&mut self, status: &Status) {
        let values = status.rejects.iter().map(|(reason, n)| (vec![reason.as_str()], *n as f64)).collect();
        self.counter("tidemill_rejected_events_total", "Rejected events, by reason.", &["reason"], values);
    }

    fn partitions(&mut self, status: &Status) {
        let numbers: Vec<String> = status.partitions.keys().map(i32::to_string).collect();
        let all = || numbers.iter().map(String::as_str).zip(status.partitions.values());
        let mut each = |name: &str, help: &str, value: fn(&PartitionStatus) -> Option<f64>| {
            let values = all().filter_map(|(number, p)| Some((vec![number], value(p)?))).collect();
            self.gauge(name, help, &["partition"], values);
        };
        each("tidemill_partition_lag_events", "Offsets that are not committed yet.", |p| Some(p.lag? as f64));
        each("tidemill_partition_end_offset", "The offset after the last.", |p| Some(p.end? as f64));
        each("tidemill_partition_committed_offset", "The offset after the last that is committed.", |p| {
            Some(p.committed? as f64)
        });
        each(
            "tidemill_partition_freshness_seconds",
            "Age of the oldest event of the last commit when readers could see it.",
            |p| Some(p.freshness_ms? as f64 / 1e3),
        );
        each("tidemill_partition_paused", "1: it stands still until there are other transforms.", |p| {
            Some(truth(p.paused))
        });
        each("tidemill_partition_fallen_back", "1: it runs the set of transforms before the last.", |p| {
            Some(truth(p.fell_back_from.is_some()))
        });
    }

    fn transforms(&mut self, status: &Status, counted: &Snapshot) {
        let info = status.transforms.iter().map(|t| (vec![&*t.name, &*t.version, &*t.digest], 1.0)).collect();
        self.gauge(
            "tidemill_transform_info",
            "Transforms at work.",
            &["transform", "version", "digest"],
            info,
        );
        let live = status.transforms.iter().filter(|t| t.state != TransformState::Old);
        let live = live.map(|t| (vec![&*t.name], truth(t.state == TransformState::Live))).collect();
        self.gauge("tidemill_transform_live", "1: all partitions of this host run it.", &["transform"], live);
        let rows = counted.transforms.iter().flat_map(|(name, deeds)| {
            let Counts { input, emitted, rejected, filtered, absorbed } = deeds.rows;
            [
                ("in", input),
                ("emitted", emitted),
                ("rejected", rejected),
                ("filtered", filtered),
                ("absorbed", absorbed),
            ]
            .map(|(kind, rows)| (vec![name.as_str(), kind], rows as f64))
        });
        self.counter(
            "tidemill_transform_rows_total",
            "Input rows of a transform, by what became of them; in: all.",
            &["transform", "kind"],
            rows.collect(),
        );
        let label = &["transform"];
        let each = |value: fn(&Deeds) -> f64| {
            counted.transforms.iter().map(|(name, deeds)| (vec![name.as_str()], value(deeds))).collect()
        };
        self.counter(
            "tidemill_transform_busy_seconds_total",
            "Processor time of a transform.",
            label,
            each(|deeds| deeds.busy_ns as f64 / 1e9),
        );
        self.counter(
            "tidemill_transform_poison_rows_total",
            "Rows that were rejected because a transform failed on them.",
            label,
            each(|deeds| deeds.poison_rows as f64),
        );
        // Two versions of one transform may be at work for a moment.
        let sums = |value: fn(&TransformStatus) -> u64| {
            let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
            status.transforms.iter().for_each(|t| *sums.entry(&t.name).or_default() += value(t) as f64);
            sums.into_iter().map(|(name, sum)| (vec![name], sum)).collect()
        };
        let memory = sums(|t| t.memory_bytes);
        self.gauge(
            "tidemill_transform_memory_bytes",
            "Memory of its instances, one for each partition.",
            label,
            memory,
        );
        let state = sums(|t| t.state_bytes);
        self.gauge("tidemill_transform_state_bytes", "What it remembers, over all partitions.", label, state);
    }
}

fn truth(is: bool) -> f64 {
    if is { 1.0 } else { 0.0 }
}

fn unix(at: At) -> f64 {
    at.0 as f64 / 1e6
}

//! The state of a running host at one moment: what `tidemill status` shows, and its `--json` as it is.
//!
//! Members may come; none goes or gets another meaning. Times are RFC 3339, UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::health::Check;

use crate::batch::Counts;
use crate::commit::record;
use crate::env::Micros;
use crate::shard::Shard;

/// Partitions that are named one by one to who looks for trouble.
const NAMED: usize = 20;
/// Commits that are kept.
pub(super) const RECENT: usize = 60;

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct At(#[serde(with = "record::time")] pub Micros);

/// The state of a running host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// When this was so.
    pub at: At,
    /// Who says it.
    pub host: About,
    /// What needs a person, a line each; none: all is well.
    pub attention: Vec<String>,
    /// The record with the set of transforms that the lanes are to run; none: the host is still starting.
    pub set: Option<u64>,
    /// Where there is more than one commit log: what of the host's state is of each, in the order of their numbers.
    /// `set` is then the first one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogStatus>,
    /// Its transforms, and those of other sets that partitions still run.
    pub transforms: Vec<TransformStatus>,
    /// Changes that were not taken in, with the reason.
    pub refused: Vec<Refused>,
    /// This host's partitions.
    pub partitions: BTreeMap<i32, PartitionStatus>,
    /// The last commit of this host.
    pub last_commit: Option<LastCommit>,
    /// Its last commits, at most [`RECENT`] of them, the newest last.
    pub recent: Vec<LastCommit>,
    /// Events that were rejected since the host started, by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Whether it does its work: all of `checks` are well.
    pub ready: bool,
    /// What that depends on.
    pub checks: Vec<Check>,
    /// Commits since the host started.
    pub commits: u64,
    /// Events in them.
    pub events: u64,
    /// Epochs that were abandoned since the host started, a lane each.
    pub abandoned: u64,
    /// How long lanes stood still when they last went over to other transforms, in microseconds.
    pub stalled_us: Option<u64>,
}

/// What of a host's state is of one of several commit logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStatus {
    /// The record with the set of transforms that its partitions are to run.
    pub set: Option<u64>,
    /// The partitions of this host that commit to it.
    pub partitions: Vec<i32>,
    /// The record of this host's last commit to it.
    pub last_record: Option<u64>,
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// What it is called in records.
    pub name: String,
    /// Its pipeline.
    pub pipeline: String,
    /// The topic that it reads.
    pub topic: String,
    /// Its directory of transforms.
    pub transforms: String,
    /// Its process.
    pub pid: u32,
    /// The version of tidemill.
    pub version: String,
    /// The address of its dashboard; empty: it has none.
    pub dashboard: String,
    /// When it started.
    pub started: At,
}

/// A transform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransformStatus {
    /// Its file's name, without the ending.
    pub file: String,
    /// What it calls itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// How it is.
    pub state: TransformState,
    /// The partitions of this host that run it.
    pub partitions: Vec<i32>,
    /// Since when all partitions of this host run it.
    pub since: Option<At>,
    /// What became of its rows since the host started, as far as it is committed.
    pub rows: Counts,
    /// How long it was at work for them, on its lane's processor.
    pub busy_ns: u64,
    /// … for each row that went in.
    pub ns_per_row: Option<u64>,
    /// Bytes of its instances' memories at the last commit, over the partitions of this host.
    pub memory_bytes: u64,
    /// Bytes of what it remembers, likewise.
    pub state_bytes: u64,
    /// Rows that were rejected since the host started because it failed on them.
    pub poison_rows: u64,
    /// The last thing that went wrong with it since the host started.
    pub last_error: Option<Trouble>,
}

/// How a transform is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransformState {
    /// All partitions of this host run it.
    #[default]
    Live,
    /// Some partitions are about to.
    GoingOver,
    /// It did not run in some partitions: they went back to the set before.
    FellBack,
    /// Some partitions with it wait for another set.
    StandsStill,
    /// It is of another set, and some partitions still run it.
    Old,
}

impl TransformState {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            TransformState::Live => "live",
            TransformState::GoingOver => "going over",
            TransformState::FellBack => "fell back",
            TransformState::StandsStill => "stands still",
            TransformState::Old => "old",
        }
    }
}

/// Something that went wrong with a transform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trouble {
    /// When.
    pub at: At,
    /// Where.
    pub partition: i32,
    /// What.
    pub error: String,
}

/// A change that was not taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// The file's name, without the ending; empty: the directory, or a set of another host.
    pub file: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: At,
}

/// A partition of this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionStatus {
    /// Its lane.
    pub lane: usize,
    /// Since when it is this host's.
    pub since: At,
    /// The set of transforms that it runs.
    pub set: Option<u64>,
    /// The set that did not run here: this partition went back to the one before.
    pub fell_back_from: Option<u64>,
    /// It stands still until there are other transforms.
    pub paused: bool,
    /// What went wrong last, until a commit without trouble.
    pub error: Option<String>,
    /// The offset after the last that is committed.
    pub committed: Option<i64>,
    /// The offset after the last in the topic; none: the brokers did not answer in time.
    pub end: Option<i64>,
    /// Offsets between the two.
    pub lag: Option<u64>,
    /// Since when, as far as this host has looked, events wait beyond what is committed; none: none do, or not known.
    pub waiting: Option<At>,
    /// When this host last committed it.
    pub last_commit: Option<At>,
    /// … and how old the oldest event in that was when readers could see it, in milliseconds.
    pub freshness_ms: Option<i64>,
}

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastCommit {
    /// The number of its log, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<u32>,
    /// Its record.
    pub record: u64,
    /// When.
    pub at: At,
    /// Events in it.
    pub events: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// From the lanes' parts to visible files, in milliseconds.
    pub took_ms: u64,
    /// How old the oldest event in it was when readers could see it, in milliseconds.
    pub freshness_ms: Option<i64>,
}

impl LastCommit {
    /// Its record for people, as `17`, or `3/17` in the log of that number.
    pub fn label(&self) -> String {
        match self.log {
            Some(log) => format!("{log}/{}", self.record),
            None => self.record.to_string(),
        }
    }
}

impl Status {
    /// The record with the set of transforms that a partition is to run.
    pub fn set_of(&self, partition: i32) -> Option<u64> {
        let Ok(logs) = u32::try_from(self.logs.len()) else { return self.set };
        let log = usize::try_from(Shard::number_of(partition, logs)).unwrap_or_default();
        self.logs.get(log).map_or(self.set, |log| log.set)
    }

    /// Takes in what the brokers say of the partitions' ends.
    pub fn ends(&mut self, ends: &BTreeMap<i32, i64>) {
        for (number, partition) in &mut self.partitions {
            // Who was asked a moment ago may not have had what is committed by now.
            partition.end = ends.get(number).map(|end| partition.committed.map_or(*end, |at| at.max(*end)));
            let lag = partition.end.zip(partition.committed).map(|(end, at)| end.saturating_sub(at));
            partition.lag = lag.map(|lag| u64::try_from(lag).unwrap_or_default());
        }
    }

    /// What needs a person, a line each.
    pub(super) fn needs(&self) -> Vec<String> {
        let refused = self.refused.iter().map(|refused| match refused.file.as_str() {
            "" => format!("transforms were not taken in: {}", refused.reason),
            file => format!("{file}.wasm was not taken in: {}", refused.reason),
        });
        let mut lines: Vec<String> = refused.collect();
        let ill = self.partitions.iter().filter_map(|(number, partition)| {
            let error = partition.error.as_deref().unwrap_or("the log has the reason");
            match (partition.paused, partition.fell_back_from, partition.set) {
                (true, _, _) => Some(format!("partition {number} stands still: {error}")),
                (false, Some(from), Some(set)) => Some(format!(
                    "partition {number} fell back to the transforms of record {set}, those of record {from} do not \
                     run there: {error}"
                )),
                _ => None,
            }
        });
        let ill: Vec<String> = ill.collect();
        let more = ill.len().saturating_sub(NAMED);
        lines.extend(ill.into_iter().take(NAMED));
        if more > 0 {
            lines.push(format!("… and so it is with {more} more partitions"));
        }
        lines
    }
}

//! Counters of one run, shared between the pipeline and whoever shows them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::board::Board;
use super::metrics::{Meters, Step};
use super::status::Status;
use super::traces::Traces;
use super::whole::whole;
use crate::batch::{Counts, Identity, Vitals};
use crate::env::Micros;
use crate::shard::Shard;

/// Counters of one run. Only what is committed is counted.
#[derive(Default)]
pub struct Stats {
    shared: Arc<Shared>,
    /// What this shard of the host does; that of the first is the host's, too.
    board: Arc<Board>,
}

/// What all shards of a host have together.
#[derive(Default)]
struct Shared {
    now: Mutex<Snapshot>,
    meters: Arc<Meters>,
    traces: OnceLock<Traces>,
    /// The boards of the shards after the first.
    others: Mutex<Vec<Arc<Board>>>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Snapshot {
    /// Partitions that this host has now.
    pub partitions: u64,
    /// Commits that had anything to commit.
    pub commits: u64,
    /// Events read and committed.
    pub events: u64,
    /// Rows by table, in the order of the tables' names.
    pub rows: BTreeMap<String, u64>,
    /// Rejected events by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Files by table.
    pub files: BTreeMap<String, u64>,
    /// Bytes of those files.
    pub bytes: u64,
    /// … by table.
    pub table_bytes: BTreeMap<String, u64>,
    /// What transforms did, by name: all versions of one together.
    pub transforms: BTreeMap<String, Deeds>,
    /// Epochs that were abandoned, a lane each.
    pub abandoned: u64,
    /// Times that a lane went over to other transforms.
    pub swaps: u64,
    /// Changes of transforms that were refused.
    pub refusals: u64,
    /// At the last commit: microseconds from the oldest event in it to its being visible.
    pub freshness: Option<Micros>,
}

/// What a transform did since the start.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Deeds {
    /// What became of its rows.
    pub rows: Counts,
    /// How long it was at work, on its lanes' processors.
    pub busy_ns: u64,
    /// Rows that were rejected because it failed on them.
    pub poison_rows: u64,
}

/// Names of transforms that are counted.
const NAMES: usize = 200;

/// What one commit adds.
#[derive(Debug, Default)]
pub struct Commit {
    /// The number of its log, where there are several.
    pub log: Option<u32>,
    /// Events.
    pub events: u64,
    /// Files: table, rows, bytes.
    pub files: Vec<(String, u64, u64)>,
    /// Rejected events by reason.
    pub rejects: BTreeMap<String, u64>,
    /// See [`Snapshot::freshness`].
    pub freshness: Option<Micros>,
    /// Its record.
    pub record: u64,
    /// When that was made.
    pub at: Micros,
    /// From the lanes' parts to visible files.
    pub took: Duration,
    /// The partitions that go ahead.
    pub advances: Vec<Advanced>,
    /// What transforms did for it, a partition each.
    pub works: Vec<Worked>,
}

/// A step of a commit.
#[derive(Clone, Copy, Debug)]
pub struct Lap {
    /// Which.
    pub step: Step,
    /// When it began.
    pub began: Micros,
    /// How long it took.
    pub took: Duration,
}

/// How a commit takes a partition ahead.
#[derive(Debug)]
pub struct Advanced {
    /// The partition.
    pub partition: i32,
    /// The offset after the last.
    pub to: i64,
    /// See [`Snapshot::freshness`].
    pub freshness: Option<Micros>,
}

/// What a transform did in one epoch of a partition.
#[derive(Debug)]
pub struct Worked {
    /// The partition.
    pub partition: i32,
    /// The transform.
    pub identity: Arc<Identity>,
    /// What became of its rows.
    pub counts: Counts,
    /// How long it was at work, on its lane's processor.
    pub busy: Duration,
    /// What it holds, and what befell it.
    pub vitals: Vitals,
}

impl Stats {
    /// Counts a commit.
    pub fn committed(&self, commit: &Commit) {
        self.board.committed(commit);
        for advance in &commit.advances {
            if let Some(age) = advance.freshness {
                self.shared.meters.fresh(Duration::from_micros(u64::try_from(age).unwrap_or_default()));
            }
        }
        let Ok(mut stats) = self.shared.now.lock() else { return };
        stats.commits += 1;
        stats.events += commit.events;
        stats.freshness = commit.freshness.or(stats.freshness);
        for (table, rows, bytes) in &commit.files {
            *stats.rows.entry(table.clone()).or_default() += rows;
            *stats.files.entry(table.clone()).or_default() += 1;
            *stats.table_bytes.entry(table.clone()).or_default() += bytes;
            stats.bytes += bytes;
        }
        for done in &commit.works {
            let name = &done.identity.name;
            if stats.transforms.len() >= NAMES && !stats.transforms.contains_key(name) {
                continue;
            }
            let deeds = stats.transforms.entry(name.clone()).or_default();
            deeds.rows += done.counts;
            deeds.busy_ns += u64::try_from(done.busy.as_nanos()).unwrap_or_default();
            deeds.poison_rows += done.vitals.poison;
        }
    }

    /// Commits are traced from now on.
    pub fn trace(&self, traces: Traces) {
        // It is said once, at the start.
        let _ = self.shared.traces.set(traces);
    }

    /// How long the steps of a commit took; the first of them is the whole.
    pub fn took(&self, commit: &Commit, laps: &[Lap]) {
        if let Some(traces) = self.shared.traces.get() {
            traces.commit(commit, laps);
        }
    }

    /// Notes how many partitions came or went.
    pub fn partitions(&self, came: usize, went: usize) {
        if let Ok(mut stats) = self.shared.now.lock() {
            stats.partitions = (stats.partitions + came as u64).saturating_sub(went as u64);
        }
    }

    /// Counts a lane's epoch that came to nothing.
    pub fn abandoned(&self) {
        self.board.abandoned();
        if let Ok(mut stats) = self.shared.now.lock() {
            stats.abandoned += 1;
        }
    }

    /// The instruments of those who work.
    pub fn meters(&self) -> Arc<Meters> {
        self.shared.meters.clone()
    }

    /// What the host is doing right now, or this shard of it.
    pub fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// The same counters for a shard; those after the first get a board of their own.
    pub fn shard(self: &Arc<Stats>, shard: Shard) -> Arc<Stats> {
        if shard.number() == 0 {
            return self.clone();
        }
        let stats = Stats { shared: self.shared.clone(), board: Arc::default() };
        if let Ok(mut others) = self.shared.others.lock() {
            others.push(stats.board());
        }
        Arc::new(stats)
    }

    fn boards(&self) -> Vec<Arc<Board>> {
        let others = self.shared.others.lock().map(|others| others.clone()).unwrap_or_default();
        std::iter::once(self.board()).chain(others).collect()
    }

    /// The whole host, now. Only the brokers know where partitions end: see [`Status::ends`].
    pub fn status(&self) -> Status {
        whole(self.boards().iter().map(|board| board.status()).collect())
    }

    /// The partitions of the whole host.
    pub fn mine(&self) -> Vec<i32> {
        self.boards().iter().flat_map(|board| board.partitions()).collect()
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let mut now = self.shared.now.lock().map(|s| s.clone()).unwrap_or_default();
        for board in self.boards() {
            let (swaps, refusals) = board.changes();
            (now.swaps, now.refusals) = (now.swaps + swaps, now.refusals + refusals);
            for (reason, events) in board.rejects() {
                *now.rejects.entry(reason).or_default() += events;
            }
        }
        now
    }
}

//! A line in the log every so often that says how a host is: for alarms and charts that are made of logs, where nobody
//! fetches `/metrics`. Its fields are an interface: docs/metrics.md lists them, and Terraform's alarms read them.

use std::collections::BTreeMap;

use super::Status;

/// What is counted from one line to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pulse {
    commits: u64,
    events: u64,
    rejected: u64,
    /// The last commit to each log that was told. Times do not tell: a record is made before its files are visible.
    records: BTreeMap<Option<u32>, u64>,
}

/// One line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Beat {
    /// Events of this host's partitions that are not committed.
    pub lag: u64,
    /// Age of the oldest event of the commits since the last line when readers could see it; none: there were none.
    pub freshness_seconds: Option<f64>,
    /// How long the oldest event that is not committed has waited, as far as this host has looked.
    pub waiting_seconds: f64,
    /// Commits since the last line.
    pub commits: u64,
    /// Events in them.
    pub events: u64,
    /// Rejected events in them.
    pub rejected: u64,
    /// 1: this host does its work.
    pub ready: u8,
    /// Its partitions.
    pub partitions: usize,
}

impl Pulse {
    /// What is to be told now.
    #[allow(clippy::cast_precision_loss)] // seconds, to the microsecond
    pub fn beat(&mut self, status: &Status) -> Beat {
        let mut records = self.records.clone();
        for commit in &status.recent {
            let told = records.entry(commit.log).or_insert(commit.record);
            *told = commit.record.max(*told);
        }
        let (commits, events) = (status.commits, status.events);
        let now = Pulse { commits, events, rejected: status.rejects.values().sum(), records };
        let before = std::mem::replace(self, now.clone());
        let since = status
            .recent
            .iter()
            .filter(|commit| before.records.get(&commit.log).is_none_or(|told| commit.record > *told));
        let waiting = status.partitions.values().filter_map(|partition| partition.waiting);
        Beat {
            lag: status.partitions.values().filter_map(|partition| partition.lag).sum(),
            freshness_seconds: since
                .filter_map(|commit| commit.freshness_ms)
                .max()
                .map(|age| age as f64 / 1e3),
            waiting_seconds: waiting
                .map(|since| status.at.0 - since.0)
                .max()
                .map_or(0.0, |us| us as f64 / 1e6),
            commits: now.commits.saturating_sub(before.commits),
            events: now.events.saturating_sub(before.events),
            rejected: now.rejected.saturating_sub(before.rejected),
            ready: u8::from(status.ready),
            partitions: status.partitions.len(),
        }
    }
}

impl Beat {
    /// Writes it to the log.
    pub fn log(&self) {
        let Beat { lag, freshness_seconds, waiting_seconds, commits, events, rejected, ready, partitions } =
            *self;
        // A field that is none is left out.
        tracing::info!(
            lag,
            freshness_seconds,
            waiting_seconds,
            commits,
            events,
            rejected,
            ready,
            partitions,
            "pulse"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{At, LastCommit, PartitionStatus};
    use super::*;

    #[test]
    fn a_beat_tells_what_came_since_the_last_one() {
        let commit = |record, at, ms| LastCommit {
            record,
            at: At(at),
            freshness_ms: Some(ms),
            ..LastCommit::default()
        };
        let partition = |lag, waiting: Option<i64>| PartitionStatus {
            lag,
            waiting: waiting.map(At),
            ..PartitionStatus::default()
        };
        let mut status = Status {
            at: At(10_000_000),
            commits: 2,
            events: 100,
            recent: vec![commit(3, 5_000_000, 900), commit(4, 9_000_000, 2_500)],
            ready: true,
            ..Status::default()
        };
        status.rejects = [("late".to_owned(), 3), ("json".to_owned(), 4)].into();
        status.partitions = [(0, partition(Some(7), Some(8_500_000))), (1, partition(None, None))].into();
        let mut pulse = Pulse::default();
        let first = pulse.beat(&status);
        let all = Beat {
            lag: 7,
            freshness_seconds: Some(2.5),
            waiting_seconds: 1.5,
            commits: 2,
            events: 100,
            rejected: 7,
            ready: 1,
            partitions: 2,
        };
        assert_eq!(first, all);

        status.at = At(20_000_000);
        status.events = 150;
        status.commits = 3;
        status.partitions = [(0, partition(Some(0), None))].into();
        let quiet = Beat {
            freshness_seconds: None,
            waiting_seconds: 0.0,
            lag: 0,
            commits: 1,
            events: 50,
            rejected: 0,
            ready: 1,
            partitions: 1,
        };
        assert_eq!(pulse.beat(&status), quiet, "old commits are not told twice");

        // Its record was made before the last beat, and its files were visible after it.
        status.recent.push(commit(7, 19_900_000, 700));
        status.commits = 4;
        assert_eq!(pulse.beat(&status).freshness_seconds, Some(0.7));
    }
}

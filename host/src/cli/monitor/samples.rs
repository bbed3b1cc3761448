//! Hosts and lakes for the tests of what is shown.

use super::alarms::Bounds;
use super::lake::{Entry, Facts};
use crate::batch::Counts;
use crate::env::Micros;
use crate::observe::hosts::Host;
use crate::observe::{
    About, At, LastCommit, PartitionStatus, Status, TransformState, TransformStatus, Trouble,
};

pub(super) const SECOND: Micros = 1_000_000;
/// When all of it is looked at.
pub(super) const NOW: Micros = 20_000 * SECOND;

pub(super) fn before(seconds: i64) -> At {
    At(NOW - seconds * SECOND)
}

pub(super) fn bounds() -> Bounds {
    Bounds { freshness: std::time::Duration::from_secs(10), lag: None, silence: None, asked: false }
}

fn commit(n: i64) -> LastCommit {
    LastCommit {
        log: None,
        record: 100 - u64::try_from(n).unwrap(),
        at: before(2 + 5 * n),
        events: 10_000,
        files: 12,
        bytes: 3 << 19,
        took_ms: 120,
        freshness_ms: Some(5_200 + n),
    }
}

/// A host with so many partitions, two transforms, rejects and commits.
pub(super) fn busy(partitions: i32) -> Status {
    let host = About {
        name: "host-1".into(),
        pipeline: "tidemill".into(),
        topic: "user-events".into(),
        transforms: "transforms".into(),
        pid: 4711,
        version: "0.1.0".into(),
        started: before(3 * 3600 + 60),
        ..About::default()
    };
    let clean = TransformStatus {
        file: "clean".into(),
        name: "clean".into(),
        version: "0.2.0".into(),
        digest: "4b3accc834dd4b3accc834dd".into(),
        partitions: (0..partitions).collect(),
        since: Some(before(3600)),
        rows: Counts { input: 60_000, emitted: 59_000, rejected: 900, filtered: 100, absorbed: 0 },
        ns_per_row: Some(812),
        last_error: Some(Trouble { at: before(75), partition: 1, error: "trapped\x1b[2J".into() }),
        ..TransformStatus::default()
    };
    let minutes = TransformStatus {
        name: "activity_per_minute".into(),
        version: "0.1.0".into(),
        digest: "acae9d93f3b5".into(),
        state: TransformState::StandsStill,
        partitions: vec![1],
        rows: Counts { input: 59_000, absorbed: 59_000, ..Counts::default() },
        ns_per_row: Some(1_530),
        ..TransformStatus::default()
    };
    let one = |number: i32| PartitionStatus {
        lane: usize::try_from(number % 2).unwrap(),
        set: Some(5),
        committed: Some(40_000 + i64::from(number)),
        end: Some(40_000 + i64::from(2 * number)),
        lag: Some(u64::try_from(number).unwrap()),
        last_commit: Some(before(2)),
        freshness_ms: Some(1_234),
        ..PartitionStatus::default()
    };
    let recent: Vec<LastCommit> = (0..40).rev().map(commit).collect();
    Status {
        at: before(0),
        host,
        set: Some(5),
        transforms: vec![clean, minutes],
        partitions: (0..partitions).map(|number| (number, one(number))).collect(),
        last_commit: recent.last().cloned(),
        recent,
        rejects: [("user_id is null".into(), 133), ("it is not valid JSON: it ends too early".into(), 1_360)]
            .into(),
        commits: 900,
        events: 9_000_000,
        abandoned: 3,
        ..Status::default()
    }
}

/// A host as it answers.
pub(super) fn host(pid: u32, status: Result<Status, String>) -> Host {
    let status = status.map(|status| Status { host: About { pid, ..status.host }, ..status });
    Host { pid, path: format!("/run/tidemill/tidemill-{pid}.sock").into(), status }
}

/// What the log of that host says.
pub(super) fn lake() -> (Status, Facts) {
    let busy = busy(2);
    let entry = |n: i64| Entry { kind: "epoch", writer: "host-1".into(), commit: commit(n), epoch: true };
    let facts = Facts {
        place: "/lake/processed/_tidemill/tidemill/log/".into(),
        logs: 1,
        records: 101,
        last: [(0, 100), (1, 97)].into(),
        newest: [(0, before(3).0), (1, before(64).0)].into(),
        recent: (0..40).rev().map(entry).collect(),
        set_at: Some(before(7_200)),
        silent: None,
    };
    let transforms = busy.transforms.into_iter().map(|one| TransformStatus { last_error: None, ..one });
    let transforms = transforms.collect();
    (Status { transforms, host: About { pid: 0, started: At(0), ..busy.host }, ..busy }, facts)
}

//! Whether a host does its work: what `/readyz` answers, and `ready` in its status.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{At, Status};

/// A host that has no partition is a spare one after this: until then they may be on their way.
const ASSIGNED: Duration = Duration::from_secs(30);
/// Events wait at least so long before that is trouble.
const STALLED: Duration = Duration::from_secs(30);
/// … or for so many commit intervals.
const INTERVALS: u32 = 10;

/// One thing that must be well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Check {
    /// `assigned`, `committing` or `storage`.
    pub name: String,
    /// Whether it is.
    pub ok: bool,
    /// What was found.
    pub what: String,
}

impl Check {
    fn new(name: &str, found: Result<String, String>) -> Check {
        let ok = found.is_ok();
        Check { name: name.into(), ok, what: found.unwrap_or_else(|why| why) }
    }
}

/// Looks at a host that commits at this interval, and of whose zones this is known.
pub fn checks(status: &Status, interval: Duration, storage: Result<(), String>) -> Vec<Check> {
    vec![
        Check::new("assigned", assigned(status)),
        Check::new("committing", committing(status, interval)),
        Check::new("storage", storage.map(|()| "both zones answer".into())),
    ]
}

fn assigned(status: &Status) -> Result<String, String> {
    if status.set.is_none() {
        return Err("the host is still starting: the commit log was not read yet".into());
    }
    match status.partitions.len() {
        0 if since(status, status.host.started) < ASSIGNED => {
            Err("the group has assigned no partition yet".into())
        }
        0 => Ok("no partition is left for this host: it stands by".into()),
        n => Ok(format!("{n} partitions")),
    }
}

fn committing(status: &Status, interval: Duration) -> Result<String, String> {
    let bound = STALLED.max(interval * INTERVALS);
    let mut late = Vec::new();
    for (number, partition) in &status.partitions {
        if partition.paused {
            return Err(format!("partition {number} stands still"));
        }
        if partition.waiting.is_some_and(|waiting| since(status, waiting) > bound) {
            late.push(number.to_string());
        }
    }
    match (late.is_empty(), &status.last_commit) {
        (false, _) => Err(format!(
            "partitions {} have events, and nothing was committed for {bound:?}",
            late.join(", ")
        )),
        (true, Some(last)) => Ok(format!("record {} is the last", last.label())),
        (true, None) => Ok("nothing to commit yet".into()),
    }
}

fn since(status: &Status, at: At) -> Duration {
    Duration::from_micros(u64::try_from(status.at.0 - at.0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::PartitionStatus;

    const SECOND: i64 = 1_000_000;

    fn status(started: i64, partition: Option<PartitionStatus>) -> Status {
        let mut status = Status { at: At(1000 * SECOND), set: Some(1), ..Status::default() };
        status.host.started = At(started * SECOND);
        status.partitions = partition.into_iter().map(|partition| (3, partition)).collect();
        status
    }

    fn found(status: &Status) -> Vec<bool> {
        let interval = Duration::from_secs(5);
        checks(status, interval, Ok(())).iter().map(|check| check.ok).collect()
    }

    #[test]
    fn a_host_that_starts_is_not_ready_and_a_spare_one_is() {
        assert_eq!(found(&Status { set: None, ..status(0, None) }), [false, true, true]);
        assert_eq!(found(&status(990, None)), [false, true, true]);
        assert_eq!(found(&status(900, None)), [true, true, true]);
    }

    #[test]
    fn events_that_wait_too_long_make_it_unready() {
        let waits = |since: Option<i64>| PartitionStatus {
            lag: Some(5),
            waiting: since.map(|since| At(since * SECOND)),
            last_commit: Some(At(10 * SECOND)),
            ..PartitionStatus::default()
        };
        assert_eq!(found(&status(0, Some(waits(Some(960))))), [true, true, true]);
        assert_eq!(found(&status(0, Some(waits(Some(940))))), [true, false, true]);
        assert_eq!(found(&status(0, Some(waits(None)))), [true, true, true], "quiet until a moment ago");
        let stands = PartitionStatus { paused: true, ..waits(None) };
        assert_eq!(found(&status(0, Some(stands))), [true, false, true]);
    }

    #[test]
    fn a_zone_that_does_not_answer_is_named() {
        let checks = checks(&status(0, None), STALLED, Err("cannot reach s3://b".into()));
        assert!(checks.iter().any(|check| check.what == "cannot reach s3://b" && !check.ok));
    }
}

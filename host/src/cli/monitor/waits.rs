//! How long events wait at least to be in the lake: what can be said for certain from looking again and again.
//!
//! Nobody says when the oldest event came that is not committed. But an event that was in the topic at an earlier
//! look, and is not committed at this one, has waited at least since then.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::env::Micros;
use crate::observe::Status;

/// Looks that are remembered of a partition. With more, what came last is remembered later.
const KEPT: usize = 1000;

/// What earlier looks have seen.
#[derive(Default)]
pub(super) struct Waits {
    /// By partition: when the topic was seen to reach there. Nothing of it is committed.
    seen: BTreeMap<i32, VecDeque<(Micros, i64)>>,
    /// Since when the brokers do not say where partitions end.
    silent: Option<Micros>,
    /// Since when a zone does not answer the host.
    shut: Option<Micros>,
}

impl Waits {
    /// Takes in a look.
    pub(super) fn note(&mut self, status: &Status) {
        let unknown = status.partitions.values().any(|one| one.lag.is_none());
        self.silent = unknown.then(|| self.silent.unwrap_or(status.at.0));
        self.shut = storage(status).map(|_| self.shut.unwrap_or(status.at.0));
        self.seen.retain(|number, _| status.partitions.contains_key(number));
        for (number, one) in &status.partitions {
            let seen = self.seen.entry(*number).or_default();
            while seen.front().is_some_and(|(_, end)| one.committed.is_some_and(|at| at >= *end)) {
                seen.pop_front();
            }
            let Some(end) = one.end else { continue };
            let last = seen.back().map(|(_, end)| *end);
            if last.is_some_and(|last| end < last) {
                // Another topic of the same name.
                seen.clear();
            }
            let waits = one.lag.is_some_and(|lag| lag > 0);
            if waits && seen.len() < KEPT && seen.back().is_none_or(|(_, last)| end > *last) {
                seen.push_back((status.at.0, end));
            }
        }
    }

    /// How long the oldest event of a partition that is not committed has waited at least; none: nothing waits.
    pub(super) fn of(&self, partition: i32, now: Micros) -> Option<Duration> {
        let (since, _) = self.seen.get(&partition)?.front()?;
        Some(between(*since, now))
    }

    /// How long nobody has known where all partitions end.
    pub(super) fn silent(&self, now: Micros) -> Option<Duration> {
        self.silent.map(|since| between(since, now))
    }

    /// How long a zone has not answered the host.
    pub(super) fn shut(&self, now: Micros) -> Option<Duration> {
        self.shut.map(|since| between(since, now))
    }
}

/// What a host that has started says of a zone that does not answer it.
pub(super) fn storage(status: &Status) -> Option<&str> {
    let check = status.checks.iter().find(|check| check.name == "storage" && !check.ok)?;
    status.set.map(|_| check.what.as_str())
}

/// The time from one moment to another; nothing if it is the other way round.
pub(super) fn between(from: Micros, to: Micros) -> Duration {
    Duration::from_micros(u64::try_from(to.saturating_sub(from)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{At, PartitionStatus};

    const SECOND: Micros = 1_000_000;

    fn look(waits: &mut Waits, second: Micros, committed: i64, end: Option<i64>) -> Option<u64> {
        let lag = end.map(|end| u64::try_from(end - committed).unwrap());
        let one = PartitionStatus { committed: Some(committed), end, lag, ..PartitionStatus::default() };
        let status = Status { at: At(second * SECOND), partitions: [(0, one)].into(), ..Status::default() };
        waits.note(&status);
        waits.of(0, status.at.0).map(|time| time.as_secs())
    }

    #[test]
    fn an_event_waits_from_the_look_that_saw_it_until_it_is_committed() {
        let mut waits = Waits::default();
        assert_eq!(look(&mut waits, 0, 10, Some(10)), None);
        assert_eq!(look(&mut waits, 1, 10, Some(12)), Some(0));
        assert_eq!(look(&mut waits, 2, 10, Some(15)), Some(1));
        assert_eq!(look(&mut waits, 5, 11, Some(15)), Some(4), "one of the two that came first still waits");
        assert_eq!(look(&mut waits, 6, 12, Some(20)), Some(4), "now one of the look at 2 is the oldest");
        assert_eq!(look(&mut waits, 7, 20, Some(20)), None);
    }

    #[test]
    fn a_steady_flow_with_commits_does_not_wait_longer_than_it_takes() {
        let mut waits = Waits::default();
        // Each look sees ten more; all that was there three looks before is committed.
        let found: Vec<Option<u64>> =
            (3..60).map(|second| look(&mut waits, second, 10 * (second - 3), Some(10 * second))).collect();
        assert!(found.iter().all(|waited| waited.unwrap() <= 2), "{found:?}");
        assert_eq!(found.last(), Some(&Some(2)));
    }

    #[test]
    fn a_topic_that_was_made_anew_and_a_partition_that_went_are_forgotten() {
        let mut waits = Waits::default();
        look(&mut waits, 0, 0, Some(100));
        assert_eq!(look(&mut waits, 50, 0, Some(3)), Some(0));
        waits.note(&Status::default());
        assert_eq!(waits.of(0, 60 * SECOND), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_is_not_forgotten() {
        let mut waits = Waits::default();
        for second in 0..3_000 {
            look(&mut waits, second, 0, Some(second + 1));
        }
        assert_eq!(waits.seen[&0].len(), KEPT);
        assert_eq!(waits.of(0, 3_000 * SECOND), Some(Duration::from_secs(3_000)));
    }

    #[test]
    fn silent_brokers_are_timed() {
        let mut waits = Waits::default();
        assert_eq!(waits.silent(0), None);
        look(&mut waits, 1, 0, None);
        look(&mut waits, 4, 0, None);
        assert_eq!(waits.silent(4 * SECOND), Some(Duration::from_secs(3)));
        look(&mut waits, 5, 0, Some(0));
        assert_eq!(waits.silent(5 * SECOND), None);
    }
}

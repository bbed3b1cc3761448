//! The numbers on top, and how they were.

use std::collections::VecDeque;
use std::time::Duration;

use super::lake::Facts;
use super::waits::{Waits, between};
use crate::env::Micros;
use crate::observe::{LastCommit, Status};

/// The time over which commits are averaged.
const WINDOW: Micros = 30_000_000;
/// Commits that a host, or we, keep: with fewer there are none before them.
pub(super) const RECENT: usize = 60;
/// Looks that are kept for the graphs: more than a terminal is wide.
const KEPT: usize = 600;
/// The pause between two looks, for what is told of the time before the first.
const STEP: Micros = 1_000_000;

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// Committed events a second, over the last half a minute.
    pub(super) rate: Option<f64>,
    /// Of a host: how old the oldest event of its last commit was when it could be seen, or how long one waits at
    /// least, if that is longer. Of the lake: how long ago the newest event came that is in it.
    pub(super) freshness: Option<Duration>,
    /// Events that wait; none: it is not known of all partitions.
    pub(super) lag: Option<u64>,
    /// How long one waits at least.
    pub(super) waits: Option<Duration>,
}

impl Figures {
    pub(super) fn of(status: &Status, lake: Option<&Facts>, waits: &Waits) -> Figures {
        let now = status.at.0;
        let waited = status.partitions.keys().filter_map(|number| waits.of(*number, now)).max();
        let freshness = match lake {
            Some(lake) => lake.newest.values().max().map(|newest| between(*newest, now)),
            None => {
                let last = status.last_commit.as_ref().and_then(|last| last.freshness_ms);
                last.map(millis).max(waited)
            }
        };
        let lags = status.partitions.values().map(|one| one.lag);
        Figures {
            rate: rate(&status.recent, now, lake.is_none().then_some(status.host.started.0)),
            freshness,
            lag: if status.partitions.is_empty() { None } else { lags.sum() },
            waits: waited,
        }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}

/// Events a second in the last half a minute, or since the beginning, if that was later. `commits` are the last ones,
/// newest last. None: there is nothing to tell it from.
pub(super) fn rate(commits: &[LastCommit], now: Micros, begun: Option<Micros>) -> Option<f64> {
    let oldest = commits.first()?;
    let window = now.saturating_sub(WINDOW);
    // Events of the first commit that is known came before it.
    let known = if commits.len() < RECENT { begun.unwrap_or(window) } else { oldest.at.0 };
    let since = window.max(known);
    let within = commits.iter().filter(|commit| commit.at.0 > since && commit.at.0 <= now);
    let events: u64 = within.map(|commit| commit.events).sum();
    let time = between(since, now).as_secs_f64();
    (time > 0.0).then(|| events as f64 / time)
}

/// How the numbers were, newest last.
#[derive(Default)]
pub(super) struct History(VecDeque<Figures>);

impl History {
    /// Takes in a look. Before the first one there are the commits that the host remembers.
    pub(super) fn note(&mut self, status: &Status, figures: Figures) {
        if self.0.is_empty() {
            self.0.extend(before(status));
        }
        self.0.push_back(figures);
        while self.0.len() > KEPT {
            self.0.pop_front();
        }
    }

    /// One of the numbers as it was.
    pub(super) fn past(&self, number: impl Fn(&Figures) -> Option<f64>) -> Vec<Option<u64>> {
        // Bars are whole numbers.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = |value: f64| value.max(0.0).round() as u64;
        self.0.iter().map(|figures| number(figures).map(whole)).collect()
    }
}

fn before(status: &Status) -> Vec<Figures> {
    let (recent, now) = (&status.recent, status.at.0);
    let Some(oldest) = recent.first().map(|commit| commit.at.0) else { return Vec::new() };
    let begun = status.host.started.0.max(oldest);
    let steps = i64::try_from(KEPT).unwrap_or(i64::MAX) - 1;
    let moments = (1..=steps).rev().map(|step| now - step * STEP).filter(|at| *at > begun);
    let at = |moment: Micros| {
        let until = recent.partition_point(|commit| commit.at.0 <= moment);
        let fresh = recent[..until].last().and_then(|commit| commit.freshness_ms);
        Figures {
            rate: rate(&recent[..until], moment, Some(begun)),
            freshness: fresh.map(millis),
            ..Figures::default()
        }
    };
    moments.map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{About, At, PartitionStatus};

    const SECOND: Micros = 1_000_000;

    fn commit(second: Micros, events: u64) -> LastCommit {
        LastCommit { at: At(second * SECOND), events, freshness_ms: Some(second), ..LastCommit::default() }
    }

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let steady: Vec<LastCommit> = (1..=50).map(|second| commit(second, 200)).collect();
        assert_eq!(rate(&steady, 50 * SECOND, Some(0)), Some(200.0));
        assert_eq!(rate(&steady, 65 * SECOND, Some(0)), Some(100.0), "nothing came for half of it");
        assert_eq!(rate(&steady, 500 * SECOND, Some(0)), Some(0.0));
        let slow: Vec<LastCommit> = (1..=20).map(|n| commit(5 * n, 10_000)).collect();
        assert_eq!(rate(&slow, 100 * SECOND, Some(0)), Some(2_000.0));
    }

    #[test]
    fn a_host_that_has_just_begun_is_not_taken_for_a_slow_one() {
        assert_eq!(
            rate(&[commit(101, 500), commit(102, 500)], 102 * SECOND, Some(100 * SECOND)),
            Some(500.0)
        );
        assert_eq!(rate(&[], 102 * SECOND, Some(100 * SECOND)), None);
    }

    #[test]
    fn of_commits_that_come_faster_than_they_are_kept_only_those_that_are_known_count() {
        let fast: Vec<LastCommit> = (0..60)
            .map(|n| LastCommit { at: At(n * SECOND / 10), events: 50, ..LastCommit::default() })
            .collect();
        let found = rate(&fast, 59 * SECOND / 10, Some(-SECOND * 1_000)).unwrap();
        assert!((found - 500.0).abs() < 1.0, "{found}");
    }

    #[test]
    fn lag_is_unknown_if_it_is_of_one_partition_and_freshness_is_that_of_the_last_commit_or_of_who_waits() {
        let one = |lag: Option<u64>| PartitionStatus {
            committed: Some(0),
            end: lag.map(|lag| i64::try_from(lag).unwrap()),
            lag,
            ..PartitionStatus::default()
        };
        let mut status = Status {
            at: At(10 * SECOND),
            last_commit: Some(commit(9, 1)),
            partitions: [(0, one(Some(2))), (1, one(Some(3)))].into(),
            ..Status::default()
        };
        let mut waits = Waits::default();
        let found = Figures::of(&status, None, &waits);
        assert_eq!((found.lag, found.freshness), (Some(5), Some(Duration::from_millis(9))));
        waits.note(&status);
        status.at = At(14 * SECOND);
        status.partitions.insert(2, one(None));
        let found = Figures::of(&status, None, &waits);
        assert_eq!((found.lag, found.freshness), (None, Some(Duration::from_secs(4))));
    }

    #[test]
    fn history_begins_with_what_the_host_remembers_and_is_bounded() {
        let host = About { started: At(0), ..About::default() };
        let recent: Vec<LastCommit> = (1..=20).map(|second| commit(second, 100)).collect();
        let status = Status { at: At(20 * SECOND), host, recent, ..Status::default() };
        let mut history = History::default();
        for _ in 0..2 * KEPT {
            history.note(&status, Figures { rate: Some(7.0), ..Figures::default() });
            assert!(history.0.len() <= KEPT);
        }
        let mut history = History::default();
        history.note(&status, Figures { rate: Some(7.0), ..Figures::default() });
        let rates = history.past(|figures| figures.rate);
        assert_eq!((rates.len(), rates.last()), (19, Some(&Some(7))));
        assert!(rates[..18].iter().all(|rate| *rate == Some(100)), "{rates:?}");
        assert_eq!(history.past(|f| f.freshness.map(|t| t.as_millis() as f64))[17], Some(19));
    }
}

//! Sums by minute for the last hour, and by quarter of an hour for the last day.

use std::collections::BTreeMap;

use super::rows::{ACTIVITY, LOCATIONS, PAGES, Row, USERS};
use super::{Named, Overview, Range, Totals};
use crate::env::{HOUR, Micros};
use crate::observe::At;

/// Different names of a bucket that are told apart; the rest is counted as [`OTHER`].
const NAMES: usize = 2000;
/// Names of a chart of all names.
const SHOWN: usize = 20;
/// Names of a chart of the greatest.
const TOP: usize = 10;
/// What the rest is called.
const OTHER: &str = "other";

const MINUTE: Micros = 60_000_000;
const QUARTER: Micros = 15 * MINUTE;
const DAY: Micros = 24 * HOUR;
/// A window may be this far ahead: producers' clocks are.
const AHEAD: Micros = HOUR;

/// The kinds of names.
const TYPES: usize = 0;
const DEVICES: usize = 1;
const NAMED_PAGES: usize = 2;
const NAMED_LOCATIONS: usize = 3;

/// Events by name, of one kind and bucket.
type Counts = BTreeMap<String, u64>;

/// What was summed up.
#[derive(Default)]
pub(super) struct Sums {
    /// By the begin of the bucket: of minutes, and of quarters.
    buckets: [BTreeMap<Micros, Bucket>; 2],
    /// Distinct users by minute.
    users: BTreeMap<Micros, u64>,
    /// Distinct users and sessions by hour and by day.
    periods: [BTreeMap<Micros, (u64, u64)>; 2],
}

#[derive(Default)]
struct Bucket {
    events: u64,
    names: [Counts; 4],
}

impl Range {
    fn step(self) -> Micros {
        [MINUTE, QUARTER][self as usize]
    }

    fn length(self) -> Micros {
        [HOUR, DAY][self as usize]
    }

    /// From and to, at a time: to the end of the step that has begun.
    fn bounds(self, now: Micros) -> (Micros, Micros) {
        let to = (now.div_euclid(self.step()) + 1) * self.step();
        (to - self.length(), to)
    }
}

impl Sums {
    /// Adds a row of a table.
    pub(super) fn add(&mut self, table: usize, row: Row<'_>) {
        let [first, second] = row.names;
        let [events, users, sessions] = row.numbers;
        match table {
            ACTIVITY => self.count(row.window, events, [(TYPES, first), (DEVICES, second)]),
            PAGES => self.name(row.window, events, NAMED_PAGES, first),
            LOCATIONS => self.name(row.window, events, NAMED_LOCATIONS, first),
            USERS => match first {
                "minute" => *self.users.entry(row.window).or_default() += users,
                "hour" => self.period(0, row.window, users, sessions),
                "day" => self.period(1, row.window, users, sessions),
                _ => {}
            },
            _ => {}
        }
    }

    fn count(&mut self, window: Micros, events: u64, names: [(usize, &str); 2]) {
        for (range, buckets) in [Range::Hour, Range::Day].into_iter().zip(&mut self.buckets) {
            let bucket = buckets.entry(window.div_euclid(range.step()) * range.step()).or_default();
            bucket.events += events;
            names.iter().for_each(|(kind, name)| bucket.add(*kind, name, events));
        }
    }

    fn name(&mut self, window: Micros, events: u64, kind: usize, name: &str) {
        for (range, buckets) in [Range::Hour, Range::Day].into_iter().zip(&mut self.buckets) {
            let bucket = buckets.entry(window.div_euclid(range.step()) * range.step()).or_default();
            bucket.add(kind, name, events);
        }
    }

    fn period(&mut self, which: usize, window: Micros, users: u64, sessions: u64) {
        let sum = self.periods[which].entry(window).or_default();
        *sum = (sum.0 + users, sum.1 + sessions);
    }

    /// Drops what no range shows any more, and what lies too far ahead.
    pub(super) fn forget(&mut self, now: Micros) {
        for (range, buckets) in [Range::Hour, Range::Day].into_iter().zip(&mut self.buckets) {
            keep(buckets, range.bounds(now).0, now + AHEAD);
        }
        keep(&mut self.users, Range::Day.bounds(now).0, now + AHEAD);
        self.periods.iter_mut().for_each(|sums| keep(sums, now - DAY - HOUR, now + AHEAD));
    }

    /// A range up to now; without what only the reader knows.
    pub(super) fn overview(&self, range: Range, now: Micros) -> Overview {
        let ((from, to), step) = (range.bounds(now), range.step());
        let starts = || (0..(to - from) / step).map(|n| from + n * step);
        let buckets = &self.buckets[range as usize];
        let events: Vec<(At, u64)> =
            starts().map(|at| (At(at), buckets.get(&at).map_or(0, |bucket| bucket.events))).collect();
        let most = |at: Micros| self.users.range(at..at + step).map(|(_, users)| *users).max().unwrap_or(0);
        let users = starts().map(|at| (At(at), most(at))).collect();
        let names = |kind: usize| {
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for bucket in buckets.range(from..to).map(|(_, bucket)| bucket) {
                bucket.names[kind].iter().for_each(|(name, n)| *sums.entry(name).or_default() += n);
            }
            greatest(sums)
        };
        let length = range.length();
        let current = self.periods[range as usize].get(&(now.div_euclid(length) * length)).copied();
        Overview {
            at: At(now),
            range,
            from: At(from),
            to: At(to),
            step_s: u32::try_from(step / 1_000_000).unwrap_or_default(),
            loading: None,
            error: None,
            missing: Vec::new(),
            totals: Totals {
                events: events.iter().map(|(_, n)| n).sum(),
                users: current.map(|(users, _)| users),
                sessions: current.map(|(_, sessions)| sessions),
            },
            events,
            users,
            event_types: all(names(TYPES)),
            devices: all(names(DEVICES)),
            pages: top(names(NAMED_PAGES)),
            locations: top(names(NAMED_LOCATIONS)),
        }
    }
}

impl Bucket {
    fn add(&mut self, kind: usize, name: &str, events: u64) {
        let counts = &mut self.names[kind];
        if let Some(count) = counts.get_mut(name) {
            *count += events;
            return;
        }
        let name = if counts.len() < NAMES { name } else { OTHER };
        *counts.entry(name.into()).or_default() += events;
    }
}

fn keep<T>(of: &mut BTreeMap<Micros, T>, from: Micros, to: Micros) {
    of.retain(|at, _| (from..to).contains(at));
}

/// Those with the most first; of equal ones in the order of their names.
fn greatest(sums: BTreeMap<&str, u64>) -> Vec<Named> {
    let mut all: Vec<Named> =
        sums.into_iter().map(|(name, events)| Named { name: name.into(), events }).collect();
    all.sort_by_key(|named| std::cmp::Reverse(named.events));
    all
}

fn all(mut names: Vec<Named>) -> Vec<Named> {
    let rest: u64 = names.iter().skip(SHOWN).map(|named| named.events).sum();
    names.truncate(SHOWN);
    if rest > 0 {
        match names.iter_mut().find(|named| named.name == OTHER) {
            Some(other) => other.events += rest,
            None => names.push(Named { name: OTHER.into(), events: rest }),
        }
    }
    names
}

fn top(mut names: Vec<Named>) -> Vec<Named> {
    names.truncate(TOP);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-29T04:05:06Z.
    const NOW: Micros = 1_795_925_106_000_000;

    fn row<'a>(ago: Micros, names: [&'a str; 2], numbers: [u64; 3]) -> Row<'a> {
        Row { window: (NOW - ago * MINUTE).div_euclid(MINUTE) * MINUTE, names, numbers }
    }

    #[test]
    fn a_range_has_each_step_and_sums_its_rows() {
        let mut sums = Sums::default();
        sums.add(ACTIVITY, row(0, ["login", "mobile"], [3, 0, 0]));
        sums.add(ACTIVITY, row(0, ["login", "desktop"], [2, 0, 0]));
        sums.add(ACTIVITY, row(59, ["view", "desktop"], [5, 0, 0]));
        sums.add(ACTIVITY, row(60, ["view", "desktop"], [100, 0, 0]));
        let hour = sums.overview(Range::Hour, NOW);
        assert_eq!((hour.events.len(), hour.totals.events, hour.step_s), (60, 10, 60));
        assert_eq!((hour.events[0].1, hour.events[59].1), (5, 5));
        let named = |name: &str, events| Named { name: name.into(), events };
        assert_eq!(hour.event_types, [named("login", 5), named("view", 5)]);
        assert_eq!(hour.devices, [named("desktop", 7), named("mobile", 3)]);
        let day = sums.overview(Range::Day, NOW);
        assert_eq!((day.events.len(), day.totals.events, day.step_s), (96, 110, 900));
    }

    #[test]
    fn users_of_a_step_are_those_of_its_fullest_minute() {
        let mut sums = Sums::default();
        for (ago, users) in [(0, 7), (1, 9), (2, 8)] {
            sums.add(USERS, row(ago, ["minute", ""], [0, users, 0]));
        }
        let at = |of: Micros| NOW.div_euclid(of) * of;
        let period = |of: Micros, name| Row { window: at(of), names: [name, ""], numbers: [0, 20, 30] };
        sums.add(USERS, period(HOUR, "hour"));
        sums.add(USERS, period(HOUR, "hour"));
        sums.add(USERS, Row { numbers: [0, 1, 1], ..period(DAY, "day") });
        let (hour, day) = (sums.overview(Range::Hour, NOW), sums.overview(Range::Day, NOW));
        assert_eq!(hour.users.iter().rev().take(3).map(|(_, n)| *n).collect::<Vec<_>>(), [7, 9, 8]);
        assert_eq!(day.users.last().map(|(_, n)| *n), Some(9));
        assert_eq!((hour.totals.users, hour.totals.sessions), (Some(40), Some(60)));
        assert_eq!(day.totals.users, Some(1));
    }

    #[test]
    fn what_grows_is_bounded() {
        let mut sums = Sums::default();
        for n in 0..3 * NAMES {
            sums.add(PAGES, row(0, [&format!("/{n}"), ""], [1, 0, 0]));
        }
        sums.add(ACTIVITY, row(3 * 24 * 60, ["old", ""], [1, 0, 0]));
        sums.add(ACTIVITY, row(-3 * 60, ["ahead", ""], [1, 0, 0]));
        sums.forget(NOW);
        let names: usize = sums.buckets[0].values().map(|b| b.names[NAMED_PAGES].len()).sum();
        assert_eq!(names, NAMES + 1);
        assert!(sums.buckets[0].len() == 1 && sums.buckets[1].len() == 1, "too old, too far ahead");
        assert_eq!(sums.overview(Range::Hour, NOW).pages.len(), TOP);
        let many = (0..30).map(|n| Named { name: n.to_string(), events: 1 }).collect();
        let shown = all(many);
        assert_eq!((shown.len(), shown[SHOWN].events), (SHOWN + 1, 10));
    }
}

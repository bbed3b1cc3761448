//! The tables of any run are those of the model.

use proptest::prelude::*;
use tidemill_sdk::Timestamp;
use tidemill_sdk::window::{Aggregation, Nested, Sessions, Sliding, Tumbling};

use crate::aggregations::{Additive, Once, Retained};
use crate::model::{Given, Kind, model};
use crate::run::{Row, Step, Table, run};

/// Enough for any test here.
const MUCH: usize = 6 << 20;
/// How late a row may be.
const LATENESS: i64 = 1500 * Timestamp::SECOND;
/// A time in 2025.
const BEGIN: i64 = 1_764_671_400 * Timestamp::SECOND;

/// Time goes on by up to `PACE` a row; a row is up to an hour behind, now and then much ahead, or the one before again.
const PACE: i64 = 120 * Timestamp::SECOND;

/// Rows whose watermarks are those of a host with this lateness.
pub(crate) fn rows(lateness: i64, most: usize, users: u16) -> impl Strategy<Value = Vec<Row>> {
    let kind = prop_oneof![
        6 => Just(0_i64..1),
        6 => Just(0..60 * Timestamp::SECOND),
        4 => Just(0..3600 * Timestamp::SECOND),
        1 => Just(3600 * Timestamp::SECOND..3 * 3600 * Timestamp::SECOND),
        1 => Just(-86_400 * Timestamp::SECOND..0),
    ];
    let behind = kind.prop_flat_map(|range| range);
    let row = (0..PACE, behind, prop::bool::weighted(0.05), 0..3_u8, 0..users, -5_i64..100);
    prop::collection::vec(row, 1..most).prop_map(move |parts| {
        let (mut now, mut newest, mut rows) = (BEGIN, i64::MIN, Vec::<Row>::new());
        for (pace, behind, again, key, user, amount) in parts {
            now += pace;
            let mut row = Row { at: now - behind, mark: 0, key, user, amount };
            if let Some(last) = rows.last().filter(|_| again) {
                row = last.clone();
            }
            // Full seconds, so that rows meet the bounds of windows.
            row.at -= row.at.rem_euclid(10 * Timestamp::SECOND);
            newest = newest.max(row.at).min(now);
            row.mark = newest - lateness;
            rows.push(row);
        }
        rows
    })
}

pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => Just(Step::Go),
        4 => Just(Step::Cut),
        1 => Just(Step::Flush),
        2 => Just(Step::Commit),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..most)
}

fn same<A: Aggregation>(cases: u32, kind: Kind, given: Given) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(rows in rows(LATENESS, 60, 8), steps in steps(60), correct: bool)| {
        let correct = correct && given != Given::Additive;
        prop_assert_eq!(run::<A>(&rows, &steps, correct), model(kind, given, &rows, correct));
    });
}

#[test]
fn tumbling_increments_of_what_is_forgotten() {
    same::<Additive<Tumbling>>(1200, Kind::Tumbling, Given::Additive);
}

#[test]
fn sliding_increments_of_what_is_forgotten() {
    same::<Additive<Sliding>>(1000, Kind::Sliding, Given::Additive);
}

#[test]
fn tumbling_increments_with_distinct() {
    same::<Retained<Tumbling, MUCH>>(1800, Kind::Tumbling, Given::Retained);
}

#[test]
fn sliding_increments_with_distinct() {
    same::<Retained<Sliding, MUCH>>(1400, Kind::Sliding, Given::Retained);
}

#[test]
fn nested_increments_with_distinct() {
    same::<Retained<Nested, MUCH>>(1000, Kind::Nested, Given::Retained);
}

#[test]
fn nested_once_or_forgotten() {
    same::<Once<Nested, MUCH>>(500, Kind::Nested, Given::Once);
    same::<Additive<Nested>>(500, Kind::Nested, Given::Additive);
}

#[test]
fn tumbling_once() {
    same::<Once<Tumbling, MUCH>>(1800, Kind::Tumbling, Given::Once);
}

#[test]
fn sliding_once() {
    same::<Once<Sliding, MUCH>>(1400, Kind::Sliding, Given::Once);
}

#[test]
fn sessions_once() {
    same::<Once<Sessions, MUCH>>(2500, Kind::Sessions, Given::Once);
}

/// Rows in partitions, each with its own instance: the tables together are that of one partition, where no row is late.
fn same_in_partitions<A: Aggregation>(cases: u32, by_key: bool) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let partition = prop::collection::vec(0..3_u8, 60);
    // Nothing is ever late: rows are at most a day and an hour behind.
    proptest!(config, |(rows in rows(3 * Timestamp::DAY, 60, 8), steps in steps(60), to in partition)| {
        let of = |wanted: u8| -> Vec<Row> {
            let taken = rows.iter().enumerate();
            let taken = taken.filter(|(i, row)| wanted == if by_key { row.key } else { to[*i] });
            taken.map(|(_, row)| row.clone()).collect()
        };
        let parts: Vec<Table> = (0..3).map(|part| run::<A>(&of(part), &steps, false)).collect();
        let whole = run::<A>(&rows, &steps, false);
        prop_assert!(whole.late.is_empty() && parts.iter().all(|part| part.late.is_empty()));
        if by_key {
            let mut all: Vec<String> = parts.into_iter().flat_map(|part| part.rows).collect();
            all.sort();
            prop_assert_eq!(all, whole.rows);
        } else {
            prop_assert_eq!(sums(&parts), sums(&[whole]));
        }
    });
}

/// Rows and amounts by window and key: what adds up.
fn sums(tables: &[Table]) -> std::collections::BTreeMap<String, (i64, i64)> {
    let mut sums = std::collections::BTreeMap::new();
    for row in tables.iter().flat_map(|table| &table.rows) {
        let columns: Vec<&str> = row.split(", ").collect();
        let number = |column: usize| columns[column].parse::<i64>().expect("a number");
        let sum = sums.entry(columns[..3].join(", ")).or_insert((0, 0));
        *sum = (sum.0 + number(3), sum.1 + number(5));
    }
    sums
}

#[test]
fn partitions_of_increments() {
    same_in_partitions::<Additive<Tumbling>>(300, false);
    same_in_partitions::<Retained<Sliding, MUCH>>(200, true);
}

#[test]
fn partitions_of_whole_windows() {
    same_in_partitions::<Once<Tumbling, MUCH>>(200, true);
    same_in_partitions::<Once<Sliding, MUCH>>(200, false);
}

#[test]
fn partitions_of_sessions() {
    same_in_partitions::<Once<Sessions, MUCH>>(300, true);
}

//! When memory is short: what is done about it follows from the rows, too.

use proptest::prelude::*;
use tidemill_sdk::Timestamp;
use tidemill_sdk::window::{Aggregation, Nested, Sessions, Sliding, Tumbling};

use crate::aggregations::{Once, Retained};
use crate::properties::{rows, steps};
use crate::run::{Row, Step, run};

/// A handful of groups.
const LITTLE: usize = 2000;

/// Any run gives the tables of a run without batches, flushes, commits, restarts and crashes.
fn same<A: Aggregation>(cases: u32) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(rows in rows(20 * 3600 * Timestamp::SECOND, 60, 8), steps in steps(60), correct: bool)| {
        prop_assert_eq!(run::<A>(&rows, &steps, correct), run::<A>(&rows, &[], correct));
    });
}

#[test]
fn windows_that_are_closed_early() {
    same::<Retained<Tumbling, LITTLE>>(400);
    same::<Retained<Sliding, LITTLE>>(300);
    same::<Retained<Nested, LITTLE>>(300);
    same::<Once<Tumbling, LITTLE>>(300);
}

#[test]
fn sessions_that_are_closed_early() {
    same::<Once<Sessions, LITTLE>>(600);
}

/// Rows of one window with many users each.
fn many(count: i64) -> Vec<Row> {
    let row = |i: i64| Row {
        at: i * Timestamp::SECOND / 20,
        mark: i64::MIN,
        key: u8::try_from(i * 7919 % 3).expect("small"),
        user: u16::try_from(i * 7919 % 1200).expect("small"),
        amount: i % 50,
    };
    (0..count).map(row).collect()
}

#[test]
fn exact_sets_become_sketches_before_windows_are_closed() {
    let rows = many(6000);
    // Three sets of 400 users; up to 300 are exact, but there is no room for three of 300.
    type Short = Retained<Tumbling, 9_900>;
    let whole = run::<Short>(&rows, &[], false);
    assert!(whole.late.is_empty(), "no window was closed early");
    assert!(!whole.rows[0].contains(", 400, "), "estimated: {}", whole.rows[0]);
    assert_eq!(whole.rows.len(), 3);
    for (every, step) in [(7, Step::Cut), (100, Step::Flush), (90, Step::Commit), (170, Step::Restart)] {
        let step = |i: usize| if i.is_multiple_of(every) { step } else { Step::Go };
        let steps: Vec<Step> = (0..rows.len()).map(step).collect();
        assert_eq!(run::<Short>(&rows, &steps, false), whole, "{every}");
    }
}

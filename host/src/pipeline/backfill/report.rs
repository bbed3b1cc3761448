//! What a backfill did, or would do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::lane::Made;
use crate::commit::record::Work;

/// What a backfill did, or would do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Files, or partitions of the topic.
    pub sources: usize,
    /// Those of them of which nothing was left to do.
    pub known: usize,
    /// Rows that became events of the lake.
    pub rows: u64,
    /// Rows that the stream has brought.
    pub skipped: u64,
    /// Events that could not be decoded, or have no time.
    pub undecoded: u64,
    /// Rows of the table of rejected events.
    pub rejected: u64,
    /// Rejected rows by reason, as far as they are told apart.
    pub reasons: BTreeMap<String, u64>,
    /// Rows for tables of transforms.
    pub tables: BTreeMap<String, u64>,
    /// What became of the rows, by transform.
    pub transforms: Vec<Work>,
    /// The records that say so.
    pub records: Vec<u64>,
    /// Portions that came to nothing, because others were faster or the log had moved on.
    pub again: u64,
    /// Time on all processors.
    pub busy: Duration,
    /// Time that passed.
    pub took: Duration,
    /// What is left to be told to the catalog, for people.
    pub untold: Option<String>,
}

impl Report {
    pub(super) fn add(&mut self, made: &Made, rows: u64, skipped: u64) {
        self.rows += rows;
        self.skipped += skipped;
        self.undecoded += made.undecoded;
        self.rejected += made.rejected;
        for (reason, rows) in &made.reasons {
            *self.reasons.entry(reason.clone()).or_default() += rows;
        }
        for (table, rows) in &made.tables {
            *self.tables.entry(table.clone()).or_default() += rows;
        }
        made.works.iter().for_each(|work| work.add_to(&mut self.transforms));
    }
}

/// How far a backfill is, for people.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    begun: Instant,
    /// What there was to do when it began: bytes of files, or offsets.
    all: u64,
}

impl Told {
    pub(super) fn new(all: u64) -> Told {
        Told { begun: Instant::now(), all }
    }

    /// A line: how much of it is done, how fast, and how long it will take.
    pub(super) fn line(&self, done: u64, rows: u64, what: &str) -> String {
        let took = self.begun.elapsed().as_secs_f64();
        let share = done as f64 / self.all.max(1) as f64;
        let speed = rows as f64 / took.max(0.001);
        let left = match (share > 0.001, took * (1.0 - share) / share.max(0.001)) {
            (true, left) => format!(", {} left", crate::cli::age(Duration::from_secs_f64(left.max(0.0)))),
            (false, _) => String::new(),
        };
        format!("{:.0} % of {what}, {rows} rows, {speed:.0} a second{left}", (share * 100.0).min(100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is() {
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let line = Told { begun, all: 400 }.line(100, 5_000, "40 files");
        assert_eq!(line, "25 % of 40 files, 5000 rows, 500 a second, 30s left");
        assert_eq!(Told { begun, all: 0 }.line(0, 0, "0 files"), "0 % of 0 files, 0 rows, 0 a second");
    }
}

//! The rows of one record against what the record says of them. Pure.
//!
//! * Raw has each event that was delivered, once.
//! * The table of rejected events has each one that could not be decoded, and each that a transform refused. A
//!   transform that reads another one may refuse several rows of one event, and rows of a flush, behind which no event
//!   stands: those are counted but are no rows. So for it the count is only the most.
//! * No event that could not be decoded is in a transform's table, and none is in a table of the transform that refused
//!   it; again but for one that reads another, which may refuse one row of an event and emit the next.
//! * A replay may have taken rejected events away since: then there may be fewer. Of what it brought, no event is both
//!   in a transform's tables and rejected by it.

use std::collections::BTreeMap;

use super::findings::{Findings, few};
use super::rows::{Content, Shape};
use crate::commit::Record;
use crate::commit::record::{Advance, DataFile, Work};
use crate::table::REJECTED;

/// What is not in a record's own files any more.
#[derive(Default)]
pub(super) struct Gone {
    /// Rows of the raw table.
    pub(super) raw: u64,
    /// Whether rejected events are among it.
    pub(super) rejected: bool,
}

impl Gone {
    /// A file that a compaction or an expiry has taken away. `raw`: the name of the raw table.
    pub(super) fn add(&mut self, file: &DataFile, raw: Option<&str>) {
        let table = file.file.table.as_str();
        if Some(table) == raw {
            self.raw += file.file.rows;
        }
        self.rejected |= table == REJECTED;
    }
}

/// Offsets of rows, by partition.
pub(super) type At = BTreeMap<i32, Vec<i64>>;

/// The rows of one record.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) raw: At,
    pub(super) undecoded: At,
    /// By transform and digest.
    pub(super) refused: BTreeMap<(String, String), At>,
    /// By table.
    pub(super) made: BTreeMap<String, At>,
}

impl Tally {
    /// Counts the rows of a file.
    pub(super) fn add(&mut self, table: &str, shape: Shape, content: Content) {
        let Some(at) = content.at else { return };
        match shape {
            Shape::Raw => put(&mut self.raw, at),
            Shape::Made => put(self.made.entry(table.into()).or_default(), at),
            Shape::Rejected => {
                for (at, by) in at.into_iter().zip(content.by) {
                    match by {
                        None => put(&mut self.undecoded, [at]),
                        Some(who) => put(self.refused.entry((*who).clone()).or_default(), [at]),
                    }
                }
            }
        }
    }

    pub(super) fn sort(&mut self) {
        let made = self.made.values_mut();
        for offsets in
            [&mut self.raw, &mut self.undecoded].into_iter().chain(self.refused.values_mut()).chain(made)
        {
            offsets.values_mut().for_each(|offsets| offsets.sort_unstable());
        }
    }

    /// Compares what a replay brought with its record.
    pub(super) fn check_replay(mut self, record: &Record, findings: &mut Findings) {
        self.sort();
        let at = format!("record {}", record.seq);
        for work in record.replayed.iter().flat_map(|replayed| &replayed.transforms) {
            let (name, mut events) = (&work.name, 0);
            let tables = work.tables.iter().filter_map(|table| self.made.get(table));
            let mut emitted: At = BTreeMap::new();
            for (partition, offsets) in tables.flatten() {
                emitted.entry(*partition).or_default().extend(offsets);
            }
            for (partition, mut offsets) in emitted {
                offsets.sort_unstable();
                offsets.dedup();
                events += offsets.len() as u64;
                // By whatever version of it: the event went through the one that is at work now.
                let refused = self.refused.iter().filter(|((by, _), _)| by == name && work.reads.is_none());
                let refused = refused.filter_map(|(_, at)| at.get(&partition));
                for others in refused.chain(self.undecoded.get(&partition)) {
                    let both: Vec<i64> = offsets
                        .iter()
                        .copied()
                        .filter(|offset| others.binary_search(offset).is_ok())
                        .collect();
                    if !both.is_empty() {
                        let few = few(&both);
                        findings.add(
                            "both",
                            format!("{at}, partition {partition}: rejected events are in tables of {name}, too: offsets {few}"),
                        );
                    }
                }
            }
            if work.reads.is_none() && events > work.emitted {
                let count = work.emitted;
                findings.add(
                    "counts",
                    format!("{at}: {name} emitted {count} events, its tables have {events} different ones"),
                );
            }
        }
    }

    /// Compares them with their record.
    pub(super) fn check(mut self, record: &Record, gone: &Gone, findings: &mut Findings) {
        self.sort();
        if gone.raw > 0 {
            // Which partitions the others are of is not known any more, only how many there were.
            let there: u128 = self.raw.values().map(|offsets| offsets.len() as u128).sum();
            let events: u128 = record.partitions.iter().map(|advance| u128::from(advance.events)).sum();
            if there + u128::from(gone.raw) != events {
                let (seq, gone) = (record.seq, gone.raw);
                findings.add(
                    "offsets",
                    format!("record {seq}: the raw table has {there} of {events} events, and {gone} were taken away"),
                );
            }
        }
        for advance in &record.partitions {
            self.partition(record.seq, advance, gone, findings);
        }
        // What is left is of partitions that the record is not about.
        let rest = |at: &At, what: &str, findings: &mut Findings| {
            for (partition, offsets) in at {
                let (seq, few) = (record.seq, few(offsets));
                findings.add(
                    "offsets",
                    format!("record {seq}: {what} has rows of partition {partition}, which does not go ahead: offsets {few}"),
                );
            }
        };
        rest(&self.raw, "the raw table", findings);
        rest(&self.undecoded, "the table of rejected events", findings);
        self.refused.values().for_each(|at| rest(at, "the table of rejected events", findings));
        self.made.iter().for_each(|(table, at)| rest(at, table, findings));
    }

    fn partition(&mut self, seq: u64, advance: &Advance, gone: &Gone, findings: &mut Findings) {
        let replayed = gone.rejected;
        let p = advance.partition;
        let at = format!("record {seq}, partition {p}");
        let raw = self.raw.remove(&p).unwrap_or_default();
        let whole = delivered(&at, advance, &raw, gone.raw > 0, findings);
        // Where raw is not what it should be, comparing the rest with it would only say so again.
        let known = |offset: &i64| match whole {
            true => raw.binary_search(offset).is_ok(),
            false => (advance.from..advance.to).contains(offset),
        };
        let undecoded = self.undecoded.remove(&p).unwrap_or_default();
        let strange = |table: &str, offsets: &[i64], findings: &mut Findings| {
            let strange: Vec<i64> = offsets.iter().copied().filter(|offset| !known(offset)).collect();
            if !strange.is_empty() {
                let few = few(&strange);
                findings.add(
                    "offsets",
                    format!("{at}: {table} has offsets that are not among its events: {few}"),
                );
            }
        };
        strange("the table of rejected events", &undecoded, findings);
        let rows = undecoded.len() as u64;
        let right = rows == advance.undecoded || (replayed && rows < advance.undecoded);
        if !right || !repeated(&undecoded).is_empty() {
            let (rows, count) = (undecoded.len(), advance.undecoded);
            findings.add(
                "rejects",
                format!("{at}: {count} events could not be decoded, the table of rejected events has {rows} rows of them"),
            );
        }
        for work in &advance.transforms {
            let refused = self.refused.get_mut(&(work.name.clone(), work.digest.clone()));
            let refused = refused.and_then(|at| at.remove(&p)).unwrap_or_default();
            strange("the table of rejected events", &refused, findings);
            refusals(&at, work, &refused, replayed, findings);
            let mut emitted = Vec::new();
            for table in &work.tables {
                let rows = self.made.get_mut(table).and_then(|at| at.remove(&p)).unwrap_or_default();
                strange(table, &rows, findings);
                emitted.extend(rows);
            }
            emitted.sort_unstable();
            emitted.dedup();
            emissions(&at, work, &emitted, &refused, &undecoded, findings);
        }
        for ((name, digest), refused) in &mut self.refused {
            if let Some(rows) = refused.remove(&p) {
                let digest = digest.get(..12).unwrap_or(digest);
                findings.add(
                    "rejects",
                    format!(
                        "{at}: {} events were refused by {name} ({digest}), which was not at work",
                        rows.len()
                    ),
                );
            }
        }
    }
}

/// Whether raw has each delivered event once. `partly`: it need not have all of them.
fn delivered(at: &str, advance: &Advance, raw: &[i64], partly: bool, findings: &mut Findings) -> bool {
    let Advance { from, to, events, .. } = advance;
    let twice = repeated(raw);
    let beyond: Vec<i64> = raw.iter().copied().filter(|offset| !(from..to).contains(&offset)).collect();
    if !twice.is_empty() {
        findings.add(
            "offsets",
            format!("{at}: the raw table has events more than once: offsets {}", few(&twice)),
        );
    }
    if !beyond.is_empty() {
        let few = few(&beyond);
        findings
            .add("offsets", format!("{at}: the raw table has events outside of {from}..{to}: offsets {few}"));
    }
    if partly {
        return false;
    }
    let mut distinct = raw.to_vec();
    distinct.dedup();
    if distinct.len() as u64 != *events {
        let mut text = format!("{at}: the raw table has {} of {events} events", distinct.len());
        if i64::try_from(*events).is_ok_and(|events| events == to - from) {
            let missing: Vec<i64> =
                (*from..*to).filter(|offset| distinct.binary_search(offset).is_err()).collect();
            if !missing.is_empty() {
                text.push_str(&format!("; without offsets {}", few(&missing)));
            }
        }
        findings.add("offsets", text);
        return false;
    }
    twice.is_empty() && beyond.is_empty()
}

fn refusals(at: &str, work: &Work, refused: &[i64], replayed: bool, findings: &mut Findings) {
    let (rows, Work { name, rejected, .. }) = (refused.len() as u64, work);
    let right = match work.reads {
        None => (rows == *rejected || (replayed && rows < *rejected)) && repeated(refused).is_empty(),
        Some(_) => rows <= *rejected,
    };
    if !right {
        findings.add(
            "rejects",
            format!("{at}: transform {name} refused {rejected} rows, the table of rejected events has {rows} of them"),
        );
    }
}

fn emissions(
    at: &str,
    work: &Work,
    emitted: &[i64],
    refused: &[i64],
    undecoded: &[i64],
    findings: &mut Findings,
) {
    let both = |others: &[i64]| -> Vec<i64> {
        emitted.iter().copied().filter(|offset| others.binary_search(offset).is_ok()).collect()
    };
    let name = &work.name;
    let lost = both(undecoded);
    if !lost.is_empty() {
        let few = few(&lost);
        findings.add(
            "both",
            format!("{at}: events that could not be decoded are in tables of {name}: offsets {few}"),
        );
    }
    if work.reads.is_some() {
        return;
    }
    let lost = both(refused);
    if !lost.is_empty() {
        let few = few(&lost);
        findings
            .add("both", format!("{at}: events that {name} refused are in its tables, too: offsets {few}"));
    }
    if emitted.len() as u64 > work.emitted {
        let (tables, count) = (emitted.len(), work.emitted);
        findings.add(
            "counts",
            format!("{at}: {name} emitted {count} events, its tables have {tables} different ones"),
        );
    }
}

fn put(to: &mut At, at: impl IntoIterator<Item = (i32, i64)>) {
    for (partition, offset) in at {
        to.entry(partition).or_default().push(offset);
    }
}

/// Those that a sorted list has more than once.
pub(super) fn repeated(sorted: &[i64]) -> Vec<i64> {
    let mut repeated: Vec<i64> =
        sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    repeated.dedup();
    repeated
}

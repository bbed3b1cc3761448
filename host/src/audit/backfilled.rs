//! A portion of history against its record: raw has each row of each part once, and what became of them is what the
//! record says. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::contents::{Gone, Tally, repeated};
use super::findings::{Findings, few};
use crate::commit::Record;
use crate::commit::record::{Backfilled, Brought, Source, partition};

/// What the record says of the rows of one partition.
#[derive(Default)]
struct Said {
    events: u64,
    /// Offsets that they lie in.
    within: Vec<(i64, i64)>,
    /// All of these offsets have an event.
    dense: bool,
    /// Topics that have this partition: of several, offsets may be the same.
    topics: BTreeSet<String>,
}

fn said(portion: &Backfilled) -> BTreeMap<i32, Said> {
    let mut all: BTreeMap<i32, Said> = BTreeMap::new();
    let mut add = |partition: i32, topic: &str, (from, to): (i64, i64), events: u64, dense: bool| {
        let said = all.entry(partition).or_insert_with(|| Said { dense: true, ..Said::default() });
        said.events += events;
        said.within.push((from, to));
        said.dense &= dense;
        said.topics.insert(topic.to_owned());
    };
    for part in &portion.parts {
        let Brought { source, name, number, from, to, events, offsets, .. } = part;
        match (source, number) {
            (_, Some(number)) => add(partition(*number), name, (*from, *to), *events, true),
            (Source::Partition(topic, partition), None) => {
                add(*partition, &topic.name, (*from, *to), *events, false);
            }
            (Source::File(_), None) => {
                for known in offsets {
                    add(known.partition, &known.topic, (known.from, known.to), known.events, false);
                }
            }
        }
    }
    all
}

impl Tally {
    /// Compares what a portion of history brought with its record.
    pub(super) fn check_backfill(mut self, record: &Record, gone: &Gone, findings: &mut Findings) {
        let Some(portion) = &record.backfilled else {
            findings.add("record", format!("record {}: a backfill does not say what it brought", record.seq));
            return;
        };
        self.sort();
        let at = format!("record {}", record.seq);
        let there: u64 = self.raw.values().map(|offsets| offsets.len() as u64).sum();
        if there + gone.raw != portion.events() {
            let (gone, events) = (gone.raw, portion.events());
            let taken = if gone > 0 { format!(", and {gone} were taken away") } else { String::new() };
            findings.add("offsets", format!("{at}: the raw table has {there} of {events} events{taken}"));
        }
        let mut said = said(portion);
        for (partition, offsets) in &self.raw {
            let at = format!("{at}, partition {partition}");
            let Some(said) = said.remove(partition) else {
                let few = few(offsets);
                findings.add(
                    "offsets",
                    format!("{at}: the raw table has rows that the record does not name: offsets {few}"),
                );
                continue;
            };
            let strange: Vec<i64> = offsets
                .iter()
                .copied()
                .filter(|offset| !said.within.iter().any(|(from, to)| (from..to).contains(&offset)))
                .collect();
            if !strange.is_empty() {
                let few = few(&strange);
                findings.add(
                    "offsets",
                    format!("{at}: the raw table has rows outside of its parts: offsets {few}"),
                );
            }
            let twice = repeated(offsets);
            if said.topics.len() == 1 && !twice.is_empty() {
                let few = few(&twice);
                findings
                    .add("offsets", format!("{at}: the raw table has rows more than once: offsets {few}"));
            }
            if gone.raw > 0 {
                continue;
            }
            if offsets.len() as u64 != said.events {
                let (rows, events) = (offsets.len(), said.events);
                findings.add("offsets", format!("{at}: the raw table has {rows} of {events} rows"));
            }
            let missing: Vec<i64> = match said.dense {
                true => {
                    let all = said.within.iter().flat_map(|(from, to)| *from..*to);
                    all.filter(|offset| offsets.binary_search(offset).is_err()).collect()
                }
                false => vec![],
            };
            if !missing.is_empty() {
                let few = few(&missing);
                findings.add("offsets", format!("{at}: the raw table is without offsets {few}"));
            }
        }
        if gone.raw == 0 {
            for (partition, said) in said.iter().filter(|(_, said)| said.events > 0) {
                let events = said.events;
                findings.add(
                    "offsets",
                    format!("{at}, partition {partition}: the raw table has none of {events} rows"),
                );
            }
        }
        self.fates(&at, portion, gone, findings);
    }

    /// What became of the rows.
    fn fates(&self, at: &str, portion: &Backfilled, gone: &Gone, findings: &mut Findings) {
        let whole = gone.raw == 0;
        let known = |partition: &i32, offset: &i64| {
            !whole || self.raw.get(partition).is_some_and(|raw| raw.binary_search(offset).is_ok())
        };
        let strange = |table: &str, rows: &BTreeMap<i32, Vec<i64>>, findings: &mut Findings| {
            for (partition, offsets) in rows {
                let strange: Vec<i64> =
                    offsets.iter().copied().filter(|offset| !known(partition, offset)).collect();
                if !strange.is_empty() {
                    let few = few(&strange);
                    findings.add(
                        "offsets",
                        format!("{at}, partition {partition}: {table} has offsets that are not among its rows: {few}"),
                    );
                }
            }
        };
        let count =
            |rows: &BTreeMap<i32, Vec<i64>>| rows.values().map(|offsets| offsets.len() as u64).sum::<u64>();
        strange("the table of rejected events", &self.undecoded, findings);
        let undecoded = count(&self.undecoded);
        if undecoded != portion.undecoded && !(gone.rejected && undecoded < portion.undecoded) {
            let wanted = portion.undecoded;
            findings.add(
                "rejects",
                format!("{at}: {wanted} rows could not be decoded, the table of rejected events has {undecoded} of them"),
            );
        }
        for ((name, digest), rows) in &self.refused {
            strange("the table of rejected events", rows, findings);
            let work = portion.transforms.iter().find(|work| (&work.name, &work.digest) == (name, digest));
            let (rows, most) = (count(rows), work.map_or(0, |work| work.rejected));
            let exact = work.is_some_and(|work| work.reads.is_none()) && !gone.rejected;
            if rows > most || (exact && rows != most) {
                findings.add(
                    "rejects",
                    format!("{at}: transform {name} refused {most} rows, the table of rejected events has {rows} of them"),
                );
            }
        }
        self.made.iter().for_each(|(table, rows)| strange(table, rows, findings));
    }
}

#[cfg(test)]
#[path = "backfilled_tests.rs"]
mod tests;

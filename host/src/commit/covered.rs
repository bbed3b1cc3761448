//! Which parts of which sources of history are true, who works on which, and where chains stand (rule M8): the fold of
//! claims and portions, and the checks against it. Pure.
//!
//! Memory grows with the sources, not with their rows: parts that meet are one run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::{Backfilled, Brought, Claim, Link, Offsets, Record, Source};
use crate::env::Micros;

/// What is known of history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Covered {
    sources: BTreeMap<Source, Cover>,
    /// Events of other lakes' raw zones, by topic and partition.
    events: BTreeMap<(String, i32), Runs>,
    chains: BTreeMap<String, Chain>,
    claims: Vec<Held>,
    /// The number that the next source gets.
    next: u32,
}

/// What is true of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cover {
    /// Its number, if its rows have no partition of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    runs: Runs,
    /// The row after its last one, once somebody has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
}

/// A chain that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The record with its last link.
    pub seq: u64,
    /// The source that it has come to.
    pub source: Source,
    /// The row after the last that it has had.
    pub at: i64,
}

/// A claim that is in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The record.
    pub seq: u64,
    /// Up to when, by its writer's clock.
    pub until: Micros,
    /// What is claimed.
    pub claim: Claim,
}

/// Rows from `from` to before `to`, with how many of them are events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    from: i64,
    to: i64,
    events: u64,
}

/// Runs that do not meet, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Runs(Vec<Run>);

impl Runs {
    /// Takes rows in; runs that it meets become one.
    fn add(&mut self, from: i64, to: i64, events: u64) {
        if from >= to {
            return;
        }
        let mut run = Run { from, to, events };
        let first = self.0.partition_point(|known| known.to < from);
        let end = self.0.partition_point(|known| known.from <= to);
        for met in self.0.drain(first..end) {
            run.from = run.from.min(met.from);
            run.to = run.to.max(met.to);
            run.events += met.events;
        }
        self.0.insert(first, run);
    }

    /// Takes rows out.
    fn remove(&mut self, from: i64, to: i64) {
        let mut rest = Vec::with_capacity(self.0.len() + 1);
        for run in self.0.drain(..) {
            let parts = [(run.from, run.to.min(from)), (run.from.max(to), run.to)];
            let parts = parts.into_iter().filter(|(from, to)| from < to);
            // Where rows are taken out each is one event.
            let part = |(from, to): (i64, i64)| Run { from, to, events: to.abs_diff(from) };
            match run.to <= from || run.from >= to {
                true => rest.push(run),
                false => rest.extend(parts.map(part)),
            }
        }
        self.0 = rest;
    }

    /// The first run that has some of these rows.
    fn overlap(&self, from: i64, to: i64) -> Option<Run> {
        let at = self.0.partition_point(|known| known.to <= from);
        self.0.get(at).copied().filter(|run| run.from < to && from < to)
    }

    /// The run that these rows would be part of.
    fn with(&self, from: i64, to: i64, events: u64) -> Run {
        let met = self.0.iter().filter(|known| known.from <= to && from <= known.to);
        met.fold(Run { from, to, events }, |run, met| Run {
            from: run.from.min(met.from),
            to: run.to.max(met.to),
            events: run.events + met.events,
        })
    }

    /// What of these rows is in no run.
    fn gaps(&self, mut from: i64, to: i64) -> Vec<(i64, i64)> {
        let mut gaps = Vec::new();
        for run in &self.0 {
            if run.to <= from {
                continue;
            }
            if run.from >= to {
                break;
            }
            if run.from > from {
                gaps.push((from, run.from));
            }
            from = run.to;
        }
        if from < to {
            gaps.push((from, to));
        }
        gaps
    }
}

impl Cover {
    /// What of these rows is not true yet.
    pub fn gaps(&self, from: i64, to: i64) -> Vec<(i64, i64)> {
        self.runs.gaps(from, self.end.map_or(to, |end| end.min(to)))
    }

    /// Whether all its rows are true.
    pub fn whole(&self) -> bool {
        self.end.is_some_and(|end| self.runs.gaps(0, end).is_empty())
    }

    /// Rows that are true.
    pub fn rows(&self) -> i64 {
        self.runs.0.iter().map(|run| run.to - run.from).sum()
    }
}

/// Why a portion cannot become true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlap {
    /// Some of it is true already, or its chain has gone on: others were faster.
    Done,
    /// The same events came another way, with the words for a person.
    Twice(String),
}

impl Covered {
    /// The topics whose events came out of other lakes' raw zones.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.events.keys().map(|(topic, _)| topic.as_str())
    }

    /// Whether nothing was ever backfilled or claimed.
    pub fn is_empty(&self) -> bool {
        *self == Covered::default()
    }

    /// What is true of a source; none: nobody has begun with it.
    pub fn source(&self, source: &Source) -> Option<&Cover> {
        self.sources.get(source)
    }

    /// All sources.
    pub fn sources(&self) -> impl Iterator<Item = (&Source, &Cover)> {
        self.sources.iter()
    }

    /// What of these rows of a source is not true yet.
    pub fn gaps(&self, source: &Source, from: i64, to: i64) -> Vec<(i64, i64)> {
        let all = || Runs::default().gaps(from, to);
        self.sources.get(source).map_or_else(all, |cover| cover.gaps(from, to))
    }

    /// Chains that have not ended.
    pub fn chains(&self) -> impl Iterator<Item = (&str, &Chain)> {
        self.chains.iter().map(|(name, chain)| (name.as_str(), chain))
    }

    /// A chain that has not ended.
    pub fn chain(&self, name: &str) -> Option<&Chain> {
        self.chains.get(name)
    }

    /// Claims that have not run out by this time.
    pub fn claims(&self, now: Micros) -> impl Iterator<Item = &Held> {
        self.claims.iter().filter(move |held| held.until > now)
    }

    /// The number that a source has, or would get as the `nth` new one.
    pub(super) fn number(&self, source: &Source, nth: u32) -> (u32, bool) {
        match self.sources.get(source).and_then(|cover| cover.number) {
            Some(number) => (number, false),
            None => (self.next.saturating_add(nth), true),
        }
    }

    /// Takes in a record: for who reads a log by itself.
    pub fn take(&mut self, record: &Record) {
        self.fold(record);
    }

    /// Whether a portion may become true behind these records; otherwise, why not.
    pub fn admits(&self, portion: &Backfilled) -> Result<(), String> {
        self.check(portion).map_err(|overlap| match overlap {
            Overlap::Done => {
                "it brings rows that are true already, or goes on from a link that is not the last".into()
            }
            Overlap::Twice(why) => why,
        })
    }

    /// Takes in a record.
    pub(super) fn fold(&mut self, record: &Record) {
        if let Some(claim) = &record.claim {
            self.claimed(record, claim);
        }
        if let Some(backfilled) = &record.backfilled {
            self.assume(record.seq, backfilled);
        }
        if let Some(part) = record.reprocessed.as_ref().and_then(|done| done.fills.as_ref()) {
            self.brought(part);
        }
        if let Some(part) = record.restored.as_ref().and_then(|done| done.empties.as_ref()) {
            self.sources.entry(part.source.clone()).or_default().runs.remove(part.from, part.to);
        }
    }

    /// Goes on as if a portion had become true, in a record of this number: for who only tries.
    pub fn assume(&mut self, seq: u64, portion: &Backfilled) {
        for part in &portion.parts {
            self.brought(part);
        }
        for link in &portion.chains {
            self.linked(seq, link);
        }
    }

    fn claimed(&mut self, record: &Record, claim: &Claim) {
        for part in &claim.parts {
            let Some(number) = part.number else { continue };
            self.next = self.next.max(number.saturating_add(1));
            self.sources.entry(part.source.clone()).or_default().number = Some(number);
        }
        // The log's own time: the same for whoever reads it.
        self.claims.retain(|held| held.claim.holder != claim.holder && held.until > record.time);
        if !claim.parts.is_empty() || !claim.chains.is_empty() {
            let until = record.time.saturating_add(i64::from(claim.seconds) * 1_000_000);
            self.claims.push(Held { seq: record.seq, until, claim: claim.clone() });
        }
    }

    fn brought(&mut self, part: &Brought) {
        let cover = self.sources.entry(part.source.clone()).or_default();
        cover.runs.add(part.from, part.to, u64::try_from(part.to - part.from).unwrap_or_default());
        if part.ends {
            cover.end = Some(part.to);
        }
        for Offsets { topic, partition, from, to, events } in &part.offsets {
            self.events.entry((topic.clone(), *partition)).or_default().add(*from, *to, *events);
        }
    }

    fn linked(&mut self, seq: u64, link: &Link) {
        let before = self.chains.remove(&link.chain);
        if link.ends {
            return;
        }
        let of = link.source.clone().map(|source| (source, link.at));
        if let Some((source, at)) = of.or_else(|| before.map(|chain| (chain.source, chain.at))) {
            self.chains.insert(link.chain.clone(), Chain { seq, source, at });
        }
    }

    /// Whether a portion may become true behind these records.
    pub(super) fn check(&self, portion: &Backfilled) -> Result<(), Overlap> {
        for link in &portion.chains {
            if self.chains.get(&link.chain).map(|chain| chain.seq) != link.previous {
                return Err(Overlap::Done);
            }
        }
        for part in &portion.parts {
            let Some(cover) = self.sources.get(&part.source) else { continue };
            let beyond = cover.end.is_some_and(|end| part.to > end);
            if beyond || cover.runs.overlap(part.from, part.to).is_some() || cover.number != part.number {
                return Err(Overlap::Done);
            }
        }
        for part in &portion.parts {
            self.twice(part)?;
        }
        Ok(())
    }

    /// The same events must not come out of a topic and out of a raw zone, nor out of two files of one.
    fn twice(&self, part: &Brought) -> Result<(), Overlap> {
        if let Source::Partition(topic, partition) = &part.source
            && let Some(runs) = self.events.get(&(topic.name.clone(), *partition))
            && let Some(run) = runs.overlap(part.from, part.to)
        {
            return Err(Overlap::Twice(format!(
                "offsets {} to {} of partition {partition} of {} were backfilled out of files of a raw zone: what is \
                 among them in the topic may be there already; begin behind them (--from)",
                run.from, run.to, topic.name
            )));
        }
        for Offsets { topic, partition, from, to, events } in &part.offsets {
            let of_topic = self.sources.iter().filter(|(source, _)| {
                matches!(source, Source::Partition(known, p) if known.name == *topic && p == partition)
            });
            for (_, cover) in of_topic {
                if let Some(run) = cover.runs.overlap(*from, *to) {
                    return Err(Overlap::Twice(format!(
                        "{} has events of partition {partition} of {topic} at offsets {from} to {to}, and {} to {} were \
                         backfilled out of the topic: it may hold events that are there already; leave it out",
                        part.name, run.from, run.to
                    )));
                }
            }
            let known = self.events.get(&(topic.clone(), *partition)).cloned().unwrap_or_default();
            let run = known.with(*from, *to, *events);
            if run.events > u64::try_from(run.to - run.from).unwrap_or_default() {
                return Err(Overlap::Twice(format!(
                    "{} has events of partition {partition} of {topic} that other files have brought already: {} events \
                     would stand at the offsets {} to {}; a compacted hour and what it was made of are the same events, \
                     so name only one of them",
                    part.name, run.events, run.from, run.to
                )));
            }
        }
        Ok(())
    }
}

/// As it stands in summaries: keys of objects there are texts.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Stored {
    sources: Vec<(Source, Cover)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<(String, i32, Runs)>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    chains: BTreeMap<String, Chain>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    claims: Vec<Held>,
    next: u32,
}

impl From<Stored> for Covered {
    fn from(stored: Stored) -> Covered {
        let Stored { sources, events, chains, claims, next } = stored;
        let events = events.into_iter().map(|(topic, partition, runs)| ((topic, partition), runs));
        Covered { sources: sources.into_iter().collect(), events: events.collect(), chains, claims, next }
    }
}

impl From<Covered> for Stored {
    fn from(covered: Covered) -> Stored {
        let Covered { sources, events, chains, claims, next } = covered;
        let events = events.into_iter().map(|((topic, partition), runs)| (topic, partition, runs));
        Stored { sources: sources.into_iter().collect(), events: events.collect(), chains, claims, next }
    }
}

#[cfg(test)]
#[path = "covered_tests.rs"]
mod tests;

//! History that did not come through the stream: claims, and portions that become true in one record (rule M8).
//!
//! A portion names which rows of which sources it holds. Whether they are true already is asked at every slot that is
//! tried, so of two that bring the same rows one comes to nothing. Claims only keep them from doing the same work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::covered::Overlap;
use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{Backfilled, Claim, DataFile, Record, RecordKind, StateRef};
use super::rules::Rule;
use super::take::Memory;
use crate::batch::EventTime;
use crate::failpoint::failpoint;
use crate::{Error, Result};

/// What became of a portion.
#[derive(Clone, Debug)]
pub enum Filled {
    /// It is true and visible.
    True(Arc<Record>),
    /// Rows of it are true already: others were faster. What was staged is removed.
    Done,
    /// Another set of transforms is the one to run, an hour was rewritten, or clean-up took what was staged for
    /// left-overs. What was staged is removed, and it is to be made anew.
    Moved,
    /// The same events came another way. What was staged is removed. For a person.
    Twice(String),
}

/// What a lane of a chain remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneMemory {
    /// The states of its transforms.
    pub states: Vec<Memory>,
    /// Where they are stored.
    pub places: Vec<StateRef>,
    /// How far event time has come.
    pub time: EventTime,
}

impl Log {
    /// Claims parts of sources and chains for a while. Sources that are to have a number get one, if they have none:
    /// it is in the record. None: others have claimed some of it meanwhile, or it is true. `ignored`: claims that are
    /// taken for run out. `told` is the maintenance record whose hours the catalog has.
    pub async fn claim(
        &mut self,
        claim: Claim,
        ignored: &BTreeSet<u64>,
        told: Option<u64>,
    ) -> Result<Option<Arc<Record>>> {
        let mut body = Body::new(&self.env, RecordKind::Claim);
        body.record.claim = Some(claim);
        self.append(&mut ClaimDraft { body, told, ignored: ignored.clone() }).await
    }

    /// Makes a portion true and visible.
    pub async fn backfill(
        &mut self,
        files: Vec<DataFile>,
        portion: Backfilled,
        told: Option<u64>,
    ) -> Result<Filled> {
        let staged = files.clone();
        let mut body = Body::new(&self.env, RecordKind::Backfill);
        body.record.files = files;
        body.record.backfilled = Some(portion);
        failpoint!("backfill-staged");
        let mut draft = BackfillDraft { body, told, why: Filled::Done };
        let record = self.append(&mut draft).await?;
        failpoint!("backfill-record");
        match record {
            Some(record) => {
                self.publish(&record).await?;
                failpoint!("backfill-published");
                Ok(Filled::True(record))
            }
            None => {
                // No slot can hold them any more.
                self.throw_away(&staged).await?;
                Ok(draft.why)
            }
        }
    }

    /// Where each partition of the topic begins in this log: events before that have not come through the stream.
    pub async fn starts(&self) -> Result<BTreeMap<i32, i64>> {
        let Some(topic) = self.view.topic() else { return Ok(BTreeMap::new()) };
        let mut missing: BTreeSet<i32> = self
            .view
            .last
            .keys()
            .filter(|(known, _)| known == topic)
            .map(|(_, partition)| *partition)
            .collect();
        let (mut starts, mut seq) = (BTreeMap::new(), 0);
        // Those that were there when the log began are in its first record.
        while !missing.is_empty() && seq < self.view.next {
            let found = self.read(seq).await?;
            let record =
                found.ok_or_else(|| Error::stop(format!("record {seq} of the commit log is missing")))?;
            if record.kind == RecordKind::Start && record.topic.as_ref() == Some(topic) {
                for advance in &record.partitions {
                    missing.remove(&advance.partition);
                    starts.entry(advance.partition).or_insert(advance.from);
                }
            }
            seq += 1;
        }
        Ok(starts)
    }

    /// What the lanes of a chain remember after its last link, by lane. None: it has gone on meanwhile.
    pub async fn chain(&self, seq: u64, chain: &str) -> Result<Option<BTreeMap<String, LaneMemory>>> {
        let found = self.read(seq).await?.and_then(|record| record.backfilled);
        let link = found.and_then(|found| found.chains.into_iter().find(|link| link.chain == chain));
        let link = link.ok_or_else(|| {
            Error::stop(format!("record {seq} is no link of chain {chain}: the commit log is damaged"))
        })?;
        let mut lanes = BTreeMap::new();
        for kept in link.lanes {
            let mut lane = LaneMemory {
                time: EventTime { newest: kept.newest, ..EventTime::default() },
                ..LaneMemory::default()
            };
            for one in kept.transforms {
                lane.time.reached.extend(one.reached.map(|reached| (one.name.clone(), reached)));
                let Some(state) = one.state else { continue };
                let Some(bytes) = self.read_state(&state).await? else { return Ok(None) };
                lane.states.push(Memory { transform: one.name, version: state.version, bytes });
                lane.places.push(state);
            }
            lanes.insert(kept.lane, lane);
        }
        Ok(Some(lanes))
    }

    /// States that chains still need.
    pub(super) async fn chained_states(&self) -> Result<BTreeSet<String>> {
        let mut needed = BTreeSet::new();
        for (_, chain) in self.view.covered.chains() {
            let found = self.read(chain.seq).await?.and_then(|record| record.backfilled);
            let lanes = found.iter().flat_map(|found| &found.chains).flat_map(|link| &link.lanes);
            let states = lanes.flat_map(|lane| &lane.transforms).filter_map(|one| one.state.as_ref());
            needed.extend(states.map(|state| state.key.clone()));
        }
        Ok(needed)
    }
}

struct ClaimDraft {
    body: Body,
    told: Option<u64>,
    ignored: BTreeSet<u64>,
}

#[async_trait]
impl Draft for ClaimDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let covered = &log.view.covered;
        let Some(claim) = &mut self.body.record.claim else { return Ok(None) };
        let now = log.env.now();
        let others = covered.claims(now).filter(|held| held.claim.holder != claim.holder);
        for held in others.filter(|held| !self.ignored.contains(&held.seq)) {
            let meets = |part: &super::record::Claimed| {
                let mut theirs = held.claim.parts.iter().filter(|other| other.source == part.source);
                theirs.any(|other| other.from < part.to && part.from < other.to)
            };
            if claim.parts.iter().any(meets)
                || claim.chains.iter().any(|chain| held.claim.chains.contains(chain))
            {
                return Ok(None);
            }
        }
        let mut fresh = 0;
        for part in &mut claim.parts {
            let gaps = covered.gaps(&part.source, part.from, part.to);
            if gaps.first().is_none_or(|(from, _)| *from != part.from) {
                return Ok(None);
            }
            if part.number.is_some() {
                let (number, new) = covered.number(&part.source, fresh);
                part.number = Some(number);
                fresh += u32::from(new);
            }
        }
        Ok(Some(self.body.linked(log, self.told)))
    }
}

struct BackfillDraft {
    body: Body,
    told: Option<u64>,
    why: Filled,
}

#[async_trait]
impl Draft for BackfillDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let record = &mut self.body.record;
        let Some(portion) = &record.backfilled else { return Ok(None) };
        if log.rules.on(Rule::Covered) {
            match log.view.covered.check(portion) {
                Ok(()) => {}
                Err(Overlap::Done) => {
                    self.why = Filled::Done;
                    return Ok(None);
                }
                Err(Overlap::Twice(why)) => {
                    self.why = Filled::Twice(why);
                    return Ok(None);
                }
            }
        }
        self.why = Filled::Moved;
        let fenced = log.view.fenced.contains(&portion.epoch)
            || record.files.iter().any(|file| log.view.fenced.contains(&file.epoch));
        if log.rules.on(Rule::Fence) && fenced {
            return Ok(None);
        }
        // Another set was named while this one was at work: the rows are for that one.
        if portion.set != log.view.transforms().map(|(seq, _)| seq) {
            return Ok(None);
        }
        if log.view.check_places(log.rules, &record.files).is_err() {
            return Ok(None);
        }
        record.topic = log.view.topic.clone();
        Ok(Some(self.body.linked(log, self.told)))
    }
}

#[cfg(test)]
#[path = "backfill_tests.rs"]
mod tests;

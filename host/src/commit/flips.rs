//! Flips: hours get another generation (rules M2 to M6), and what they were before is removed later.
//!
//! A compaction brings the rows of an hour in other files; an expiry brings none. Both take away exactly the files
//! that are true in the hour at their slot, so that nothing is lost that came since they read it, and from their slot
//! on new files of the hour go to the new generation. What they take away stays where it is for readers that have not
//! heard of it, until a *sweep* names the record. A sweep is for who has seen the catalog show the hours elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{Compacted, DataFile, Flip, Record, RecordKind};
use super::rules::Rule;
use super::store::again;
use crate::env::Micros;
use crate::failpoint::failpoint;
use crate::table::Hour;
use crate::{Error, Result};

/// Files that are removed side by side.
const ABREAST: usize = 16;

/// An hour of a table, rewritten: its files are staged in its next generation.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The table.
    pub table: String,
    /// The hour.
    pub hour: Hour,
    /// The files that were read: all that were true in the hour.
    pub supersedes: Vec<DataFile>,
    /// The files that have their rows.
    pub files: Vec<DataFile>,
    /// What was read.
    pub compacted: Compacted,
}

/// A table's hour.
type At = (String, i64);

impl Log {
    /// All files of an hour that are true, by key.
    pub async fn live_in(&self, table: &str, hour: Hour) -> Result<BTreeMap<String, DataFile>> {
        let mut files = self.live(table, &hour.values().0).await?;
        files.retain(|_, file| file.file.hour == hour);
        Ok(files)
    }

    /// Makes a rewritten hour true and visible. None: the hour is another by now, or clean-up took the files for
    /// left-overs; what was staged is removed. `told` is the maintenance record whose hours the catalog has.
    pub async fn compact(&mut self, hour: Rewritten, told: Option<u64>) -> Result<Option<Arc<Record>>> {
        let Rewritten { table, hour, supersedes, files, compacted } = hour;
        let staged = files.clone();
        let mut body = Body::new(&self.env, RecordKind::Compact);
        let generation = supersedes.iter().map(|file| file.generation).max().unwrap_or(1).saturating_add(1);
        body.record.flips = vec![Flip { table, hour: hour.0, generation }];
        body.record.supersedes = supersedes.into_iter().map(DataFile::taken_away).collect();
        body.record.files = files;
        body.record.compacted = Some(compacted);
        failpoint!("compact-staged");
        let record = self.append(&mut FlipDraft { body, told, seen: None }).await?;
        failpoint!("compact-record");
        match &record {
            Some(record) => self.publish(record).await?,
            // No slot can hold ours any more.
            None => self.remove_all(&staged).await?,
        }
        failpoint!("compact-published");
        Ok(record)
    }

    /// Takes all files of some hours away: their events are from before `before`. None: one of the hours is another
    /// by now.
    pub async fn expire(
        &mut self,
        files: Vec<DataFile>,
        before: Micros,
        told: Option<u64>,
    ) -> Result<Option<Arc<Record>>> {
        let hours: BTreeMap<At, u32> = files.iter().map(|file| (at(file), file.generation)).collect();
        let flip = |((table, hour), generation): (At, u32)| Flip { table, hour, generation: generation + 1 };
        let mut body = Body::new(&self.env, RecordKind::Expire);
        body.record.flips = hours.into_iter().map(flip).collect();
        body.record.supersedes = files.into_iter().map(DataFile::taken_away).collect();
        body.record.before = Some(before);
        let record = self.append(&mut FlipDraft { body, told, seen: None }).await?;
        failpoint!("expire-record");
        if let Some(record) = &record {
            self.publish(record).await?;
        }
        Ok(record)
    }

    /// Removes what these compactions and expiries took away. None: that was done. Only for who has seen that the
    /// catalog shows their hours elsewhere, or not at all.
    pub async fn sweep(&mut self, flips: &BTreeSet<u64>, told: Option<u64>) -> Result<Option<Arc<Record>>> {
        let body = Body::new(&self.env, RecordKind::Sweep);
        let record = self.append(&mut SweepDraft { body, told, flips: flips.clone() }).await?;
        failpoint!("sweep-record");
        if let Some(record) = &record {
            self.publish(record).await?;
        }
        Ok(record)
    }

    /// What a compaction or an expiry took away.
    pub(super) async fn swept(&self, seq: u64) -> Result<Vec<DataFile>> {
        let found = self.read(seq).await?;
        let found = found.filter(|record| record.kind.flips()).ok_or_else(|| {
            Error::stop(format!(
                "a sweep names record {seq}, which takes no hours away: the commit log is damaged"
            ))
        })?;
        Ok(found.supersedes)
    }

    /// Removes files, staged or visible (rule M5), side by side.
    pub(super) async fn remove_all(&self, files: &[DataFile]) -> Result<()> {
        let (store, env) = (&self.store, &self.env);
        let remove = |file: &DataFile| {
            let file = file.file.clone();
            async move {
                again(env, "remove a file", || store.remove(&file)).await?;
                failpoint!("removed-one");
                Ok(())
            }
        };
        let work: Vec<_> = files.iter().map(remove).collect();
        stream::iter(work).buffered(ABREAST).try_collect::<()>().await
    }
}

fn at(file: &DataFile) -> At {
    (file.file.table.clone(), file.file.hour.0)
}

struct FlipDraft {
    body: Body,
    told: Option<u64>,
    /// The slot up to which its hours were seen to be as they were read.
    seen: Option<u64>,
}

impl FlipDraft {
    /// Whether its hours are still what they were when they were read.
    async fn unchanged(&self, log: &Log) -> Result<bool> {
        let record = &self.body.record;
        let hours: BTreeSet<At> = record.flips.iter().map(|flip| (flip.table.clone(), flip.hour)).collect();
        // What came since the last look is at hand, as long as no summary came between.
        if let Some(seen) = self.seen {
            let since = log.view.recent.iter().filter(|record| record.seq >= seen);
            let since: Vec<&Arc<Record>> = since.collect();
            if since.len() as u64 == log.view.next - seen {
                let mut files = since.iter().flat_map(|record| record.files.iter().chain(&record.supersedes));
                return Ok(files.all(|file| !hours.contains(&at(file))));
            }
        }
        let mut wanted: BTreeMap<At, BTreeSet<&str>> = BTreeMap::new();
        for file in &record.supersedes {
            wanted.entry(at(file)).or_default().insert(&file.file.key);
        }
        let mut days: BTreeMap<(String, String), BTreeMap<String, DataFile>> = BTreeMap::new();
        for hour in hours {
            let day = (hour.0.clone(), Hour(hour.1).values().0);
            if !days.contains_key(&day) {
                days.insert(day.clone(), log.live(&day.0, &day.1).await?);
            }
            let live: BTreeSet<&str> = days[&day]
                .values()
                .filter(|file| file.file.hour.0 == hour.1)
                .map(|file| file.file.key.as_str())
                .collect();
            let wanted = wanted.remove(&hour).unwrap_or_default();
            let same = match (log.rules.on(Rule::HourUnchanged), log.rules.on(Rule::SupersedeLive)) {
                (true, _) => live == wanted,
                (false, true) => live.is_superset(&wanted),
                (false, false) => true,
            };
            if !same || wanted.is_empty() {
                return Ok(false);
            }
        }
        Ok(wanted.is_empty())
    }
}

#[async_trait]
impl Draft for FlipDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let fenced = |file: &DataFile| log.view.fenced.contains(&file.epoch);
        let record = &self.body.record;
        if log.rules.on(Rule::Fence) && record.files.iter().any(fenced) {
            return Ok(None);
        }
        let next = |flip: &Flip| {
            let now = log.view.generations.get(&flip.table, Hour(flip.hour)).generation;
            flip.generation == now + 1 || !log.rules.on(Rule::Generation)
        };
        let placed = record.files.iter().all(|file| {
            let flip = record
                .flips
                .iter()
                .find(|flip| (&flip.table, flip.hour) == (&file.file.table, file.file.hour.0));
            flip.is_some_and(|flip| flip.generation == file.generation)
        });
        if !placed {
            return Err(Error::stop(
                "a rewritten hour has files outside of its new generation; this is a bug",
            ));
        }
        if !record.flips.iter().all(next) || !self.unchanged(log).await? {
            return Ok(None);
        }
        self.seen = Some(log.view.next);
        Ok(Some(self.body.linked(log, self.told)))
    }
}

struct SweepDraft {
    body: Body,
    told: Option<u64>,
    flips: BTreeSet<u64>,
}

#[async_trait]
impl Draft for SweepDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let record = &mut self.body.record;
        record.sweeps = log.view.retired.intersection(&self.flips).copied().collect();
        if record.sweeps.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.body.linked(log, self.told)))
    }
}

#[cfg(test)]
#[path = "flips_tests.rs"]
mod tests;

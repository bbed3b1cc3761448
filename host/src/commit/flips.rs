//! Flips: hours get another generation (rules M2 to M6), and what they were before is removed later.
//!
//! A compaction brings the rows of an hour in other files; an expiry brings none. Both take away exactly the files
//! that are true in the hour at their slot, so that nothing is lost that came since they read it, and from their slot
//! on new files of the hour go to the new generation. What they take away stays where it is for readers that have not
//! heard of it, until a *sweep* names the record. A sweep is for who has seen the catalog show the hours elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{Compacted, DataFile, Erased, Flip, Record, RecordKind, Reprocessed, Restored, Stretch};
use super::rules::Rule;
use super::store::again;
use crate::env::{Env, Micros};
use crate::failpoint::failpoint;
use crate::generations::Generations;
use crate::table::Hour;
use crate::{Error, Result};

/// Files that are removed side by side: a host commits when they are gone.
const ABREAST: usize = 64;
/// Flips that one record sweeps, at most.
const FLIPS: usize = 50;

/// Hours of tables, rewritten: their files are staged in their next generations.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The hours, with their new generations.
    pub flips: Vec<Flip>,
    /// The files that were read: all that were true in these hours.
    pub supersedes: Vec<DataFile>,
    /// The files that are true instead.
    pub files: Vec<DataFile>,
    /// What was done.
    pub deed: Deed,
}

/// Why hours were rewritten, as the record says it.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Files were merged.
    Compacted(Compacted),
    /// Hours were made anew from the raw zone.
    Reprocessed(Reprocessed),
    /// Hours were put back.
    Restored(Restored),
    /// The rows of somebody were left out.
    Erased(Erased),
}

impl Deed {
    fn of(self, env: &Env) -> Body {
        let new = |kind| Body::new(env, kind);
        match self {
            Deed::Compacted(compacted) => {
                let mut body = new(RecordKind::Compact);
                body.record.compacted = Some(compacted);
                body
            }
            Deed::Reprocessed(reprocessed) => {
                let mut body = new(RecordKind::Reprocess);
                body.record.reprocessed = Some(reprocessed);
                body
            }
            Deed::Restored(restored) => {
                let mut body = new(RecordKind::Restore);
                body.record.restored = Some(restored);
                body
            }
            Deed::Erased(erased) => {
                let mut body = new(RecordKind::Erase);
                body.record.erased = Some(erased);
                body
            }
        }
    }
}

/// What became of rewritten hours.
#[derive(Clone, Debug)]
pub enum Flipped {
    /// They are true and visible.
    True(Arc<Record>),
    /// One of them is not any more as it was read. What is staged stays: the caller mends it, or throws it away.
    Changed,
    /// Clean-up took what is staged for left-overs: it can never become true.
    Fenced,
}

/// Generations whose files are visible (rule M6). The log alone makes one, so that no catalog is told of others: even
/// whoever has just published a flip may have read of the next one meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a>(&'a Generations);

impl Deref for Shown<'_> {
    type Target = Generations;

    fn deref(&self) -> &Generations {
        self.0
    }
}

#[cfg(test)]
impl Shown<'static> {
    /// No hour was ever rewritten.
    pub(super) fn first() -> Shown<'static> {
        static NONE: std::sync::LazyLock<Generations> = std::sync::LazyLock::new(Generations::default);
        Shown(&NONE)
    }
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

    /// The generations as a catalog may show them: publishes what the last flip brought first.
    pub(crate) async fn shown(&mut self) -> Result<Shown<'_>> {
        if self.rules.on(Rule::ShowVisible) {
            // Publishing may read the log on.
            while !self.roll_forward(Some(&[])).await?.is_empty() {}
        }
        Ok(Shown(&self.view.generations))
    }

    /// Makes rewritten hours true and visible. `told` is the maintenance record whose hours the catalog has.
    pub async fn rewrite(&mut self, rewritten: &Rewritten, told: Option<u64>) -> Result<Flipped> {
        let Rewritten { flips, supersedes, files, deed } = rewritten.clone();
        let mut body = deed.of(&self.env);
        body.record.flips = flips;
        body.record.supersedes = supersedes.into_iter().map(DataFile::taken_away).collect();
        body.record.files = files;
        failpoint!("flip-staged");
        let record = self.append(&mut FlipDraft { body, told, seen: None }).await?;
        failpoint!("flip-record");
        let flipped = match record {
            Some(record) => {
                self.publish(&record).await?;
                Flipped::True(record)
            }
            None if rewritten.files.iter().any(|file| self.view.fenced.contains(&file.epoch)) => {
                Flipped::Fenced
            }
            None => Flipped::Changed,
        };
        failpoint!("flip-published");
        Ok(flipped)
    }

    /// The same for whom there is nothing to mend. None: it came to nothing, and what was staged is removed.
    pub async fn rewrite_once(
        &mut self,
        rewritten: &Rewritten,
        told: Option<u64>,
    ) -> Result<Option<Arc<Record>>> {
        match self.rewrite(rewritten, told).await? {
            Flipped::True(record) => Ok(Some(record)),
            Flipped::Changed | Flipped::Fenced => {
                self.throw_away(&rewritten.files).await?;
                Ok(None)
            }
        }
    }

    /// The files that have come into rewritten hours since they were read. They are superseded, too, from now on:
    /// whoever asks brings their rows. None: an hour was rewritten by others, or one of its files is gone.
    pub async fn carry(&self, rewritten: &mut Rewritten) -> Result<Option<Vec<DataFile>>> {
        let mut late = Vec::new();
        for flip in &rewritten.flips {
            let hour = Hour(flip.hour);
            if self.view.generations.get(&flip.table, hour).generation + 1 != flip.generation {
                return Ok(None);
            }
            let mut live = self.live_in(&flip.table, hour).await?;
            let here = (flip.table.clone(), flip.hour);
            for file in rewritten.supersedes.iter().filter(|file| at(file) == here) {
                if live.remove(&file.file.key).is_none() {
                    return Ok(None);
                }
            }
            late.extend(live.into_values());
        }
        rewritten.supersedes.extend(late.iter().cloned());
        if !self.rules.on(Rule::CarryLate) {
            late.clear();
        }
        Ok(Some(late))
    }

    /// Removes files that no slot can hold any more.
    pub async fn throw_away(&self, staged: &[DataFile]) -> Result<()> {
        self.remove_all(staged).await
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

    /// Removes what these flips took away, or the next stretch of it, and of what an earlier sweep has begun with. None:
    /// there is nothing left. Only for who has seen that the catalog shows their hours elsewhere, or not at all.
    ///
    /// Every host takes part in it before it commits again, so there is a bound to what one record names.
    pub async fn sweep(&mut self, flips: &BTreeSet<u64>, told: Option<u64>) -> Result<Option<Arc<Record>>> {
        let body = Body::new(&self.env, RecordKind::Sweep);
        let record = self.append(&mut SweepDraft::new(body, told, flips)).await?;
        failpoint!("sweep-record");
        if let Some(record) = &record {
            self.publish(record).await?;
        }
        Ok(record)
    }

    /// What a flip took away.
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
            if !same {
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
    /// How many files each took away, as far as it was looked up.
    files: BTreeMap<u64, u64>,
}

impl SweepDraft {
    fn new(body: Body, told: Option<u64>, flips: &BTreeSet<u64>) -> SweepDraft {
        SweepDraft { body, told, flips: flips.clone(), files: BTreeMap::new() }
    }
}

#[async_trait]
impl Draft for SweepDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let record = &mut self.body.record;
        record.sweeps.clear();
        record.stretches.clear();
        let mut room = log.sizes.swept as u64;
        // What was begun goes first: nobody needs it any more.
        let begun = log.view.sweeping.iter().map(|(seq, from)| (*seq, *from));
        let due = log.view.retired.intersection(&self.flips).map(|seq| (*seq, 0));
        for (flip, from) in begun.chain(due).take(FLIPS) {
            let of = match self.files.get(&flip) {
                Some(of) => *of,
                None => log.swept(flip).await?.len() as u64,
            };
            self.files.insert(flip, of);
            let to = of.min(from + room);
            record.sweeps.push(flip);
            if (from, to) != (0, of) {
                record.stretches.push(Stretch { flip, from, to, of });
            }
            room -= to - from;
            if room == 0 {
                break;
            }
        }
        Ok((!record.sweeps.is_empty()).then(|| self.body.linked(log, self.told)))
    }
}

#[cfg(test)]
#[path = "flips_tests.rs"]
mod tests;

//! Summaries: a start that costs the same after 90 days as after an hour.
//!
//! After each [`EVERY`] records whoever passes by writes a summary: everything a [`View`] holds, with each
//! partition's last record in full. No record of the next hundred is written before it (so a start reads one
//! summary and fewer than a hundred records). It replaces nothing: records stay for ever (rule L1).
//!
//! Live files are too many for one object. They are listed in *inventories*, one immutable object per table, date
//! and hundred records in which it changed; a summary only points to them. A date with more than [`Sizes::pieces`] of
//! them gets a single one that takes their place, so a table and date never has more.
//!
//! Both are functions of the log alone: hosts that write them at the same time write the same.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::covered::Covered;
use super::log::Log;
use super::position::{View, recent_files};
use super::record::{DataFile, Record, Topic, check_format};
use super::store::again;
use crate::failpoint::failpoint;
use crate::generations::Generations;
use crate::{Error, Result};

/// Records between two summaries. Few in tests, so that the simulation comes by many summaries.
pub const EVERY: u64 = Sizes::USUAL.every;
/// How much of a log is summed up, and kept, at a time: small in tests, so that the simulation comes by it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Records between two summaries: [`EVERY`].
    pub(super) every: u64,
    /// Inventories of one table and date, at most.
    pub(super) pieces: usize,
    /// Published records that are remembered.
    pub(super) remembered: u64,
    /// Files that one sweep removes, at most: no host commits while they go.
    pub(super) swept: usize,
}

impl Sizes {
    /// Those of the product.
    pub(super) const PRODUCT: Sizes = Sizes { every: 100, pieces: 10, remembered: 1000, swept: 1000 };
    /// Those of the simulation.
    #[cfg(test)]
    pub(super) const SMALL: Sizes = Sizes { every: 8, pieces: 2, remembered: 4, swept: 2 };
    /// Those of this build.
    #[cfg(not(test))]
    pub(super) const USUAL: Sizes = Sizes::PRODUCT;
    /// Those of this build.
    #[cfg(test)]
    pub(super) const USUAL: Sizes = Sizes::SMALL;
}

/// Inventories that are written side by side.
const ABREAST: usize = 16;
/// The version of the format of inventories.
const INVENTORY: u32 = 1;

/// Keys of inventories by table and date.
pub(super) type Inventories = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// A summary as it is stored.
#[derive(Serialize, Deserialize)]
struct Summary {
    format: u32,
    /// The last record that it sums up.
    seq: u64,
    pipeline: String,
    topic: Option<Topic>,
    /// The last record of each partition.
    positions: Vec<Position>,
    /// Those records, each once, and the repairs of their files.
    records: Vec<Record>,
    /// The last maintenance record.
    maintenance: Option<Record>,
    /// The last record with a set of transforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transforms: Option<Record>,
    fenced: Vec<String>,
    superseded: BTreeMap<String, u64>,
    repairs: Vec<u64>,
    #[serde(default, skip_serializing_if = "Generations::is_empty")]
    generations: Generations,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    retired: BTreeSet<u64>,
    #[serde(default, skip_serializing_if = "Covered::is_empty")]
    covered: Covered,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sweeping: BTreeMap<u64, u64>,
    inventories: Inventories,
}

#[derive(Serialize, Deserialize)]
struct Position {
    topic: Topic,
    partition: i32,
    seq: u64,
}

/// Files of one table and date.
#[derive(Default, Serialize, Deserialize)]
struct Inventory {
    format: u32,
    /// Files that became true.
    files: Vec<DataFile>,
    /// Keys in earlier inventories that are true no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
}

impl View {
    fn summary(&self, pipeline: &str) -> Summary {
        let position = |((topic, partition), record): (&(Topic, i32), &Arc<Record>)| Position {
            topic: topic.clone(),
            partition: *partition,
            seq: record.seq,
        };
        let all = self.last.values().chain(self.repairs.values());
        let records: BTreeMap<u64, &Arc<Record>> = all.map(|record| (record.seq, record)).collect();
        Summary {
            format: self
                .transforms
                .iter()
                .chain(&self.maintenance)
                .map(|record| record.format)
                .chain((!self.generations.is_empty() || !self.retired.is_empty()).then_some(3))
                .chain((!self.covered.is_empty()).then_some(4))
                .max()
                .unwrap_or(1),
            seq: self.next.saturating_sub(1),
            pipeline: pipeline.into(),
            topic: self.topic.clone(),
            positions: self.last.iter().map(position).collect(),
            records: records.into_values().map(|record| (**record).clone()).collect(),
            maintenance: self.maintenance.as_deref().cloned(),
            transforms: self.transforms.as_deref().cloned(),
            fenced: self.fenced.iter().cloned().collect(),
            superseded: self.superseded.clone(),
            repairs: self.repairs.keys().copied().collect(),
            generations: self.generations.clone(),
            retired: self.retired.clone(),
            covered: self.covered.clone(),
            sweeping: self.sweeping.clone(),
            inventories: self.inventories.clone(),
        }
    }

    fn of(key: &str, summary: Summary) -> Result<View> {
        let records: BTreeMap<u64, Arc<Record>> =
            summary.records.into_iter().map(|record| (record.seq, Arc::new(record))).collect();
        let find = |seq: u64| {
            records.get(&seq).cloned().ok_or_else(|| Error::stop(format!("{key} lacks record {seq}")))
        };
        let mut view = View {
            next: summary.seq + 1,
            topic: summary.topic,
            maintenance: summary.maintenance.map(Arc::new),
            transforms: summary.transforms.map(Arc::new),
            fenced: summary.fenced.into_iter().collect(),
            superseded: summary.superseded,
            generations: summary.generations,
            retired: summary.retired,
            covered: summary.covered,
            sweeping: summary.sweeping,
            inventories: summary.inventories,
            ..View::default()
        };
        for Position { topic, partition, seq } in summary.positions {
            view.last.insert((topic, partition), find(seq)?);
        }
        for seq in summary.repairs {
            view.repairs.insert(seq, find(seq)?);
        }
        Ok(view)
    }
}

impl Log {
    /// Reads the summary after record `seq`; none: there is none.
    pub(super) async fn read_summary(&self, seq: u64) -> Result<Option<View>> {
        let key = self.keys.summary(seq);
        let Some(bytes) = again(&self.env, "read a summary", || self.store.read(&key)).await? else {
            return Ok(None);
        };
        check_format(&key, &bytes)?;
        let summary: Summary = serde_json::from_slice(&bytes)
            .map_err(|e| Error::stop(format!("{key} is no summary that this version can read: {e}")))?;
        View::of(&key, summary).map(Some)
    }

    /// Makes sure that the summary of a full hundred exists, and takes its inventories over.
    pub(super) async fn sum_up(&mut self) -> Result<()> {
        if !self.view.next.is_multiple_of(self.sizes.every) || self.view.recent.is_empty() {
            return Ok(());
        }
        let seq = self.view.next - 1;
        if let Some(view) = self.read_summary(seq).await? {
            self.view = view;
            return Ok(());
        }
        let mut view = self.view.clone();
        view.inventories = self.write_inventories(seq).await?;
        view.recent.clear();
        view.prune(self.rules);
        failpoint!("summary");
        let mut bytes = serde_json::to_vec(&view.summary(&self.pipeline))
            .map_err(|e| Error::stop(format!("cannot write a summary: {e}")))?;
        bytes.push(b'\n');
        self.write_once(&self.keys.summary(seq), &bytes).await?;
        self.view = view;
        Ok(())
    }

    /// Lists what became true since the last summary, by table and date.
    async fn write_inventories(&self, seq: u64) -> Result<Inventories> {
        let mut pointers = self.view.inventories.clone();
        let mut pieces: BTreeMap<(String, String), Inventory> = BTreeMap::new();
        let place = |file: &DataFile| (file.file.table.clone(), file.file.hour.values().0);
        for file in recent_files(&self.view) {
            pieces.entry(place(file)).or_default().files.push(file.clone());
        }
        for file in self.view.recent.iter().flat_map(|record| &record.supersedes) {
            pieces.entry(place(file)).or_default().removed.push(file.file.key.clone());
        }
        // Side by side: nobody commits before the summary is there.
        let write = |((table, date), piece): ((String, String), Inventory)| {
            let keys = pointers.get(&table).and_then(|dates| dates.get(&date)).cloned().unwrap_or_default();
            async move {
                let keys = self.write_inventory(self.keys.inventory(&table, &date, seq), piece, keys).await?;
                Ok::<_, Error>((table, date, keys))
            }
        };
        let work: Vec<_> = pieces.into_iter().map(write).collect();
        let written: Vec<_> = stream::iter(work).buffered(ABREAST).try_collect().await?;
        for (table, date, keys) in written {
            pointers.entry(table).or_default().insert(date, keys);
        }
        Ok(pointers)
    }

    /// Writes one inventory. Gives back the keys of all that its table and date has now.
    async fn write_inventory(
        &self,
        key: String,
        mut piece: Inventory,
        mut keys: Vec<String>,
    ) -> Result<Vec<String>> {
        if keys.len() >= self.sizes.pieces {
            let mut files = self.read_inventories(&keys).await?;
            let removed: HashSet<String> = piece.removed.drain(..).collect();
            files.retain(|key, _| !removed.contains(key));
            piece.files = files.into_values().chain(piece.files).collect();
            keys.clear();
        }
        piece.format = INVENTORY;
        let bytes =
            serde_json::to_vec(&piece).map_err(|e| Error::stop(format!("cannot write an inventory: {e}")))?;
        self.write_once(&key, &bytes).await?;
        keys.push(key);
        Ok(keys)
    }

    async fn read_inventories(&self, keys: &[String]) -> Result<BTreeMap<String, DataFile>> {
        let mut files = BTreeMap::new();
        for key in keys {
            let bytes = again(&self.env, "read an inventory", || self.store.read(key)).await?;
            let bytes = bytes.ok_or_else(|| {
                Error::stop(format!("{key} is missing, though a summary of the commit log points to it"))
            })?;
            check_format(key, &bytes)?;
            let piece: Inventory = serde_json::from_slice(&bytes)
                .map_err(|e| Error::stop(format!("{key} is no inventory that this version can read: {e}")))?;
            let removed: HashSet<String> = piece.removed.into_iter().collect();
            files.retain(|key, _| !removed.contains(key));
            files.extend(piece.files.into_iter().map(|file| (file.file.key.clone(), file)));
        }
        Ok(files)
    }

    /// Tables that have, or once had, files that are true.
    pub fn tables(&self) -> BTreeSet<String> {
        let recent = recent_files(&self.view).map(|file| file.file.table.clone());
        self.view.inventories.keys().cloned().chain(recent).collect()
    }

    /// The dates for which a table has, or once had, files that are true.
    pub fn dates(&self, table: &str) -> BTreeSet<String> {
        let summed = self.view.inventories.get(table).into_iter().flat_map(|dates| dates.keys().cloned());
        let recent = recent_files(&self.view).filter(|file| file.file.table == table);
        summed.chain(recent.map(|file| file.file.hour.values().0)).collect()
    }

    /// All files of a table and date that are true, by key.
    pub async fn live(&self, table: &str, date: &str) -> Result<BTreeMap<String, DataFile>> {
        let keys = self.view.inventories.get(table).and_then(|dates| dates.get(date));
        let mut files = self.read_inventories(keys.map_or(&[], Vec::as_slice)).await?;
        files.retain(|key, _| !self.view.superseded.contains_key(key));
        let recent = recent_files(&self.view)
            .filter(|file| file.file.table == table && file.file.hour.values().0 == date);
        files.extend(recent.map(|file| (file.file.key.clone(), file.clone())));
        Ok(files)
    }

    /// Writes an object whose bytes follow from its key: that somebody else wrote it already is success.
    pub(super) async fn write_once(&self, key: &str, bytes: &[u8]) -> Result<()> {
        again(&self.env, "write beside the commit log", || async {
            // "There is one" can also mean that somebody is making one right now, which may come to nothing.
            if self.store.create(key, bytes).await? || self.store.exists(key).await? {
                return Ok(());
            }
            Err(Error::retry(format!("{key} is neither there nor free")))
        })
        .await
    }
}

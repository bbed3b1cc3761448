//! Replays: rejected rows that went through the transforms once more become true in one record.
//!
//! It takes the files away that the rows stood in, and brings others: the rows that stay, those that were rejected
//! again, and what the transforms made of the rest. So a row is in one place before the record and in one after it.
//! A replay is maintenance (rule M2). What it takes away must be live at its slot (rule M3), which is asked at every
//! slot that is tried: of two replays of the same files one comes to nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{DataFile, Record, RecordKind, Replayed};
use super::rules::Rule;
use super::store::again;
use crate::Result;
use crate::failpoint::failpoint;

/// Rejected rows that went through the transforms, with the files that hold what became of them, staged.
#[derive(Clone, Debug)]
pub struct Portion {
    /// The files that the rows stood in.
    pub supersedes: Vec<DataFile>,
    /// The files that take their place.
    pub files: Vec<DataFile>,
    /// What became of the rows.
    pub replayed: Replayed,
}

impl Log {
    /// Makes a portion true and visible. None: another host took one of its files away, another set of transforms is
    /// the one to run, or clean-up took ours for left-overs; what was staged is removed. `told` is the maintenance
    /// record whose hours the catalog has.
    pub async fn replay(&mut self, portion: Portion, told: Option<u64>) -> Result<Option<Arc<Record>>> {
        let staged = portion.files.clone();
        let mut body = Body::new(&self.env, RecordKind::Replay);
        body.record.supersedes = portion.supersedes;
        body.record.files = portion.files;
        body.record.replayed = Some(portion.replayed);
        failpoint!("replay-staged");
        let record = self.append(&mut ReplayDraft { body, told }).await?;
        failpoint!("replay-record");
        match &record {
            Some(record) => self.publish(record).await?,
            // No slot can hold ours any more.
            None => {
                for file in &staged {
                    again(&self.env, "remove a file", || self.store.remove(&file.file)).await?;
                }
            }
        }
        Ok(record)
    }
}

struct ReplayDraft {
    body: Body,
    told: Option<u64>,
}

#[async_trait]
impl Draft for ReplayDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let record = &mut self.body.record;
        if log.rules.on(Rule::Fence) && record.files.iter().any(|file| log.view.fenced.contains(&file.epoch))
        {
            return Ok(None);
        }
        if log.view.check_places(log.rules, &record.files).is_err() {
            return Ok(None);
        }
        // Another set was named while this one was at work: the rows are for that one.
        let set = log.view.transforms().map(|(seq, _)| seq);
        if record.replayed.as_ref().is_some_and(|replayed| replayed.set != set) {
            return Ok(None);
        }
        let mut live: BTreeMap<(String, String), BTreeMap<String, DataFile>> = BTreeMap::new();
        for DataFile { file, .. } in record.supersedes.iter().filter(|_| log.rules.on(Rule::SupersedeLive)) {
            let place = (file.table.clone(), file.hour.values().0);
            if !live.contains_key(&place) {
                live.insert(place.clone(), log.live(&place.0, &place.1).await?);
            }
            if !live[&place].contains_key(&file.key) {
                return Ok(None);
            }
        }
        Ok(Some(self.body.linked(log, self.told)))
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
pub(super) mod tests;

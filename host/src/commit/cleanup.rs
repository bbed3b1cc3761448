//! Clean-up: what epochs left behind that will never become true (rules M1, M2, M5).
//!
//! First a record names the epochs and what they left; from then on none of them may become true. Only then is
//! anything removed. What is still alive is computed from the log anew for every slot that is tried.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{Cleanup, Record, RecordKind, Remains};
use super::rules::Rule;
use crate::Result;
use crate::sink::{Keys, Publish};
use crate::table::Zone;

/// What one record removes at most.
const MOST: usize = 1000;

impl Log {
    /// Of things that are staged: those that no record names.
    ///
    /// An upload to the key of a file that is true is none of them, whatever its id: it may be the very one that
    /// publishes the file, and if it is another (a request that was answered twice), clean-up would delete the key
    /// after aborting it (rule M5), and with it the file. The bucket's own rule aborts such an upload some day.
    pub async fn victims(&self, staged: &[Remains]) -> Result<Vec<Remains>> {
        let mut victims = Vec::new();
        let mut retired: Option<BTreeSet<String>> = None;
        let mut live = BTreeMap::new();
        let states = self.needed_states().await?;
        let waiting = self.waiting();
        for remains in staged.iter().filter(|remains| !states.contains(&remains.key)) {
            if remains
                .staging
                .as_ref()
                .is_some_and(|staging| waiting.contains(&(remains.zone, staging.as_str())))
            {
                continue;
            }
            // What lies elsewhere was judged above.
            if let Some((table, _, date)) = Keys::place_of(&remains.key) {
                let place = (table.to_owned(), date.to_owned());
                if !live.contains_key(&place) {
                    live.insert(place.clone(), self.live(table, date).await?);
                }
                if live[&place].contains_key(&remains.key) {
                    continue;
                }
            }
            // Readers may still need what a flip took away: its keys are left alone, like those of true files.
            if Keys::place_of(&remains.key).is_some() {
                let retired = match &mut retired {
                    Some(known) => known,
                    None => retired.insert(self.retired_keys().await?),
                };
                if retired.contains(&remains.key) {
                    continue;
                }
            }
            victims.push(remains.clone());
            if victims.len() == MOST {
                break;
            }
        }
        Ok(victims)
    }

    /// What compactions and expiries took away and no sweep has named.
    async fn retired_keys(&self) -> Result<BTreeSet<String>> {
        let mut keys = BTreeSet::new();
        for seq in self.view.retired.iter().chain(self.view.sweeping.keys()) {
            keys.extend(self.swept(*seq).await?.into_iter().map(|file| file.file.key));
        }
        Ok(keys)
    }

    /// Files in staging on a disk that a record names. Where they wait is all that their own names tell, so they are
    /// known by that. Only last records and their repairs can have such files, and the last maintenance record: every
    /// other record was published before the next of its chain (rules F3, M2).
    fn waiting(&self) -> BTreeSet<(Zone, &str)> {
        let last = self.view.last.values().chain(self.view.repairs.values()).chain(&self.view.maintenance);
        let files = last.chain(&self.view.recent).flat_map(|record| &record.files);
        let live = files.filter(|file| !self.view.superseded.contains_key(&file.file.key));
        let staging = live.filter_map(|file| match &file.file.how {
            Publish::Rename { staging } => Some((file.file.zone, staging.as_str())),
            Publish::Upload { .. } => None,
        });
        staging.collect()
    }

    /// States that somebody may still need: those that chains of history go on from, those of last records, and those
    /// before them, with which a last record's files can be made again.
    async fn needed_states(&self) -> Result<BTreeSet<String>> {
        let mut needed = self.chained_states().await?;
        for ((topic, partition), record) in &self.view.last {
            let mut record = Some(record.clone());
            for _ in 0..2 {
                let Some(this) = record.take().filter(|r| r.topic.as_ref() == Some(topic)) else { break };
                let Some(advance) = this.partitions.iter().find(|a| a.partition == *partition) else { break };
                needed.extend(advance.transforms.iter().filter_map(|w| Some(w.state.as_ref()?.key.clone())));
                record = match advance.prev {
                    Some(prev) => self.read(prev).await?.map(Arc::new),
                    None => None,
                };
            }
        }
        Ok(needed)
    }

    /// Removes what no record names of the things that are staged; none: there was nothing to remove.
    pub async fn clean_up(&mut self, staged: Vec<Remains>) -> Result<Option<Arc<Record>>> {
        let body = Body::new(&self.env, RecordKind::Cleanup);
        let mut draft = CleanupDraft { staged, body, victims: None };
        let record = self.append(&mut draft).await?;
        if let Some(record) = &record {
            self.publish(record).await?;
        }
        Ok(record)
    }
}

struct CleanupDraft {
    staged: Vec<Remains>,
    body: Body,
    victims: Option<Vec<Remains>>,
}

#[async_trait]
impl Draft for CleanupDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let victims = match self.victims.take() {
            Some(victims) if !log.rules.on(Rule::VictimsEachSlot) => victims,
            _ => log.victims(&self.staged).await?,
        };
        if victims.is_empty() {
            return Ok(None);
        }
        let epochs: BTreeSet<String> = victims.iter().map(|remains| remains.epoch.clone()).collect();
        self.body.record.previous = log.view.maintenance.as_ref().map(|record| record.seq);
        self.body.record.owed = log.view.owed();
        self.body.record.cleanup =
            Some(Cleanup { epochs: epochs.into_iter().collect(), remains: victims.clone() });
        self.victims = Some(victims);
        Ok(Some(Body { id: log.env.fresh_id(), ..self.body.clone() }))
    }
}

#[cfg(test)]
#[path = "cleanup_tests.rs"]
pub(super) mod tests;

//! The lake without a host: what its commit logs say, and how far the topic goes beyond it.
//!
//! The log is only read, by one request a look when nothing is new. What it says is put into the form in which a host
//! tells its state, so that both are judged and shown alike.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use serde::Serialize;

use super::brokers::Brokers;
use super::figures::RECENT;
use super::tail::Tail;
use crate::Result;
use crate::commit::View;
use crate::config::{CatalogKind, Config};
use crate::env::{self, Env, Micros};
use crate::observe::{About, At, LastCommit, PartitionStatus, Status, TransformStatus};
use crate::pipeline::offline::Lake;
use crate::source::Ends;

/// How long the store may take for a look, and to say why it took longer.
const PATIENCE: Duration = Duration::from_secs(10);
const REASON: Duration = Duration::from_secs(5);

/// What only the log says, beside what stands in a status.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Where the log lies.
    pub(super) place: String,
    /// Logs, and records in all of them.
    pub(super) logs: usize,
    pub(super) records: u64,
    /// The last record of each partition.
    pub(super) last: BTreeMap<i32, u64>,
    /// When the newest event of a partition came that is in the lake.
    pub(super) newest: BTreeMap<i32, Micros>,
    /// The last records, newest last.
    pub(super) recent: Vec<Entry>,
    /// When the set of transforms was written down.
    pub(super) set_at: Option<At>,
    /// Why nobody knows how far the topic goes.
    pub(super) silent: Option<String>,
}

/// A record of the log.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Entry {
    /// What it is about.
    pub(super) kind: &'static str,
    /// The host, or the command, that wrote it.
    pub(super) writer: String,
    /// The rest of it.
    #[serde(flatten)]
    pub(super) commit: LastCommit,
    /// Events were committed by it.
    #[serde(skip)]
    pub(super) epoch: bool,
}

/// Reads the logs of a lake again and again.
pub(super) struct Reader {
    /// In the order of their numbers.
    logs: Vec<Tail>,
    env: Env,
    brokers: Brokers,
    topic: String,
}

impl Reader {
    /// Nothing is read yet but how many logs there are. Must be called within a runtime.
    pub(super) async fn open(config: &Config) -> Result<Reader> {
        // All that is read lies in the processed zone: the raw one need not even exist.
        let alone = Config { raw: config.processed.clone(), catalog: CatalogKind::None, ..config.clone() };
        let env = env::machine();
        let lakes = Lake::open(&alone, &env, "monitor").await?;
        Ok(Reader {
            logs: lakes.into_iter().map(Tail::new).collect(),
            env,
            brokers: Brokers::new(config),
            topic: config.topic.clone(),
        })
    }

    /// Looks; the brokers may take so long. An error says why the log cannot be read.
    pub(super) async fn look(&mut self, brokers: Duration) -> Result<(Status, Facts), String> {
        self.read().await?;
        if let Some(topic) = self.logs.iter().find_map(|tail| tail.lake.log.view().topic()) {
            self.topic = topic.name.clone();
        }
        let ends = self.brokers.ends(&self.topic, brokers).await;
        // After the ends, so that what is committed by now does not look like a lag.
        self.read().await?;
        Ok(self.told(ends))
    }

    async fn read(&mut self) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, self.refresh()).await {
            Ok(done) => done.map_err(|e| e.to_string()),
            Err(_) => Err(self.reason().await),
        }
    }

    async fn refresh(&mut self) -> Result<()> {
        try_join_all(self.logs.iter_mut().map(Tail::refresh)).await.map(drop)
    }

    /// Any of the logs: all lie in one zone.
    fn lake(&self) -> &Lake {
        &self.logs[0].lake
    }

    fn place(&self) -> String {
        match self.logs.len() {
            1 => self.lake().place(),
            logs => format!("{} and {} more", self.lake().place(), logs - 1),
        }
    }

    /// Why the log could not be read in time: reads are tried again for ever, a question is not.
    async fn reason(&self) -> String {
        let lake = self.lake();
        let first = lake.keys.record(0);
        match tokio::time::timeout(REASON, lake.stores.processed.exists(&first)).await {
            Ok(Err(e)) => e.to_string(),
            _ => format!("{} cannot be read within {PATIENCE:?}", self.place()),
        }
    }

    fn told(&self, ends: Result<Ends, String>) -> (Status, Facts) {
        let mut facts = Facts {
            place: self.place(),
            logs: self.logs.len(),
            records: self.logs.iter().map(|tail| tail.lake.log.view().next()).sum(),
            recent: self.logs.iter().flat_map(|tail| tail.recent.iter().cloned()).collect(),
            set_at: self.logs.iter().filter_map(|tail| tail.set_at).map(|(_, at)| at).max(),
            ..Facts::default()
        };
        // Stable: those of one log stay in its order.
        if self.logs.len() > 1 {
            facts.recent.sort_by_key(|entry| entry.commit.at);
        }
        let old = facts.recent.len().saturating_sub(RECENT);
        facts.recent.drain(..old);
        let mut partitions: BTreeMap<i32, PartitionStatus> = BTreeMap::new();
        let views = || self.logs.iter().map(|tail| tail.lake.log.view());
        for view in views() {
            for ((topic, number), _) in view.positions() {
                let Some((record, advance)) = view.partition(topic, *number) else { continue };
                if view.topic() != Some(topic) {
                    continue;
                }
                facts.last.insert(*number, record.seq);
                facts.newest.extend(advance.newest.map(|newest| (*number, newest)));
                let one = PartitionStatus {
                    set: advance.set,
                    committed: Some(advance.to),
                    last_commit: Some(At(record.time)),
                    ..PartitionStatus::default()
                };
                partitions.insert(*number, one);
            }
        }
        match ends {
            Ok(ends) => beyond(&mut partitions, &ends),
            Err(why) => facts.silent = Some(why),
        }
        let epochs = facts.recent.iter().filter(|entry| entry.epoch);
        let recent: Vec<LastCommit> = epochs.map(|entry| entry.commit.clone()).collect();
        let set = self.lake().log.view().transforms().map(|(seq, _)| seq);
        // Logs may name different sets for a moment.
        let mut transforms: Vec<TransformStatus> = Vec::new();
        for deployed in views().filter_map(View::transforms).flat_map(|(_, set)| &set.components) {
            let known =
                |one: &TransformStatus| (&one.file, &one.digest) == (&deployed.file, &deployed.digest);
            if !transforms.iter().any(known) {
                transforms.push(transform(deployed));
            }
        }
        let host = About {
            pipeline: self.lake().keys.whole().into(),
            topic: self.topic.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..About::default()
        };
        let last_commit = recent.last().cloned();
        let at = At(self.env.now());
        let status =
            Status { at, host, set, transforms, partitions, last_commit, recent, ..Status::default() };
        (status, facts)
    }
}

/// Takes in what the brokers say. A partition that the log does not know begins at its first event.
fn beyond(partitions: &mut BTreeMap<i32, PartitionStatus>, ends: &Ends) {
    for (number, (first, end)) in ends {
        let one = partitions.entry(*number).or_default();
        let lag = end.saturating_sub(one.committed.unwrap_or(*first));
        (one.end, one.lag) = (Some(*end), Some(u64::try_from(lag).unwrap_or_default()));
    }
}

fn transform(deployed: &crate::commit::record::Deployed) -> TransformStatus {
    TransformStatus {
        file: deployed.file.clone(),
        name: deployed.name.clone(),
        version: deployed.version.clone(),
        digest: deployed.digest.clone(),
        ..TransformStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_the_log_does_not_know_waits_from_its_first_event_on() {
        let known = PartitionStatus { committed: Some(40), ..PartitionStatus::default() };
        let mut partitions = BTreeMap::from([(0, known.clone()), (2, known)]);
        beyond(&mut partitions, &[(0, (0, 52)), (1, (30, 37))].into());
        let found: Vec<_> = partitions.values().map(|one| (one.committed, one.end, one.lag)).collect();
        assert_eq!(
            found,
            [(Some(40), Some(52), Some(12)), (None, Some(37), Some(7)), (Some(40), None, None)]
        );
    }
}

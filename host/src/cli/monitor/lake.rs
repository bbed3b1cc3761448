//! The lake without a host: what its commit log says, and how far the topic goes beyond it.
//!
//! The log is only read, by one request a look when nothing is new. What it says is put into the form in which a host
//! tells its state, so that both are judged and shown alike.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::brokers::Brokers;
use super::figures::RECENT;
use crate::commit::Record;
use crate::commit::record::RecordKind;
use crate::config::{CatalogKind, Config};
use crate::env::{self, Env, Micros};
use crate::observe::{About, At, LastCommit, PartitionStatus, Status, TransformStatus};
use crate::pipeline::offline::Lake;
use crate::source::Ends;
use crate::{Error, Result};

/// How long the store may take for a look, and to say why it took longer.
const PATIENCE: Duration = Duration::from_secs(10);
const REASON: Duration = Duration::from_secs(5);
/// Records that are read side by side.
const ABREAST: usize = 16;

/// What only the log says, beside what stands in a status.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Where the log lies.
    pub(super) place: String,
    /// Records in it.
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
}

/// Reads the log of a lake again and again.
pub(super) struct Reader {
    lake: Lake,
    env: Env,
    brokers: Brokers,
    topic: String,
    opened: bool,
    recent: VecDeque<Entry>,
    set_at: Option<(u64, At)>,
}

impl Reader {
    /// Nothing is read yet. Must be called within a runtime.
    pub(super) async fn open(config: &Config) -> Result<Reader> {
        // All that is read lies in the processed zone: the raw one need not even exist.
        let alone = Config { raw: config.processed.clone(), catalog: CatalogKind::None, ..config.clone() };
        let env = env::machine();
        let lake = Lake::open(&alone, &env, "monitor").await?;
        Ok(Reader {
            lake,
            env,
            brokers: Brokers::new(config),
            topic: config.topic.clone(),
            opened: false,
            recent: VecDeque::new(),
            set_at: None,
        })
    }

    /// Looks; the brokers may take so long. An error says why the log cannot be read.
    pub(super) async fn look(&mut self, brokers: Duration) -> Result<(Status, Facts), String> {
        self.read().await?;
        if let Some(topic) = self.lake.log.view().topic() {
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
        match self.opened {
            true => self.lake.log.catch_up().await?,
            false => self.lake.log.open().await?,
        }
        self.opened = true;
        let log = &self.lake.log;
        let next = log.view().next();
        let known = self.recent.back().map_or(0, |entry| entry.commit.record + 1);
        let slots = known.max(next.saturating_sub(RECENT as u64))..next;
        let read = stream::iter(slots).map(|seq| async move {
            let missing = || Error::stop(format!("record {seq} of the commit log is missing: restore it"));
            log.read(seq).await?.ok_or_else(missing)
        });
        let new: Vec<Record> = read.buffered(ABREAST).try_collect().await?;
        self.recent.extend(new.iter().map(entry));
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        if let Some((seq, _)) = log.view().transforms()
            && self.set_at.is_none_or(|(known, _)| known != seq)
        {
            self.set_at = log.read(seq).await?.map(|record| (seq, At(record.time)));
        }
        Ok(())
    }

    /// Why the log could not be read in time: reads are tried again for ever, a question is not.
    async fn reason(&self) -> String {
        let first = self.lake.keys.record(0);
        match tokio::time::timeout(REASON, self.lake.stores.processed.exists(&first)).await {
            Ok(Err(e)) => e.to_string(),
            _ => format!("{} cannot be read within {PATIENCE:?}", self.lake.place()),
        }
    }

    fn told(&self, ends: Result<Ends, String>) -> (Status, Facts) {
        let view = self.lake.log.view();
        let mut facts = Facts {
            place: self.lake.place(),
            records: view.next(),
            recent: self.recent.iter().cloned().collect(),
            set_at: self.set_at.map(|(_, at)| at),
            ..Facts::default()
        };
        let mut partitions: BTreeMap<i32, PartitionStatus> = BTreeMap::new();
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
        match ends {
            Ok(ends) => beyond(&mut partitions, &ends),
            Err(why) => facts.silent = Some(why),
        }
        let epochs = self.recent.iter().filter(|entry| entry.kind == RecordKind::Epoch.name());
        let recent: Vec<LastCommit> = epochs.map(|entry| entry.commit.clone()).collect();
        let (set, transforms) = match view.transforms() {
            Some((seq, set)) => (Some(seq), set.components.iter().map(transform).collect()),
            None => (None, Vec::new()),
        };
        let host = About {
            pipeline: self.lake.keys.pipeline().into(),
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

fn entry(record: &Record) -> Entry {
    let commit = LastCommit {
        record: record.seq,
        at: At(record.time),
        events: record.partitions.iter().map(|advance| advance.events).sum(),
        files: record.files.len() as u64,
        bytes: record.files.iter().map(|file| file.file.bytes).sum(),
        ..LastCommit::default()
    };
    Entry { kind: record.kind.name(), writer: record.writer.host.clone(), commit }
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

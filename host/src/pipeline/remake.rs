//! Makes files again that vanished after their record was written and before they were visible (rule F6): the same
//! offsets, through the same transforms, from the states that the record before had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::lane::remembered;
use super::loader::Loader;
use super::stages::{Stages, stored};
use crate::commit::record::{Advance, DataFile};
use crate::commit::{Base, Log, Record, Remade, Remake};
use crate::decode::Decoder;
use crate::env::{Env, Micros, World, machine};
use crate::sink::{EpochWriter, Keys, PendingFile, Stores};
use crate::source;
use crate::table::{Hour, Table};
use crate::transform::event_time::Due;
use crate::transform::graph::Graph;
use crate::transform::run::Runner;
use crate::wait::blocking;
use crate::{Error, Result};

/// What it takes to do again what a lane has done.
#[derive(Clone)]
pub(super) struct Again {
    pub(super) loader: Loader,
    pub(super) env: Env,
    pub(super) keys: Keys,
    pub(super) stores: Stores,
    pub(super) raw: Arc<Table>,
    pub(super) rejected: Arc<Table>,
}

/// Files whose rows cannot be told apart: of one epoch, table and hour.
type Group = (String, String, Hour);

fn group(file: &DataFile) -> Group {
    (file.epoch.clone(), file.file.table.clone(), file.file.hour)
}

#[async_trait]
impl Remake for Again {
    async fn remake(&self, log: &Log, record: &Record, missing: &[DataFile]) -> Result<Remade> {
        // Trouble on the way to the store is no reason to give up.
        self.make(log, record, missing).await.map_err(stored)
    }
}

impl Again {
    async fn make(&self, log: &Log, record: &Record, missing: &[DataFile]) -> Result<Remade> {
        let (origin, replaced, old) = origin(log, record, missing).await?;
        let record = &origin;
        let wanted: BTreeSet<Group> = old.iter().map(group).collect();
        let epochs: BTreeSet<&str> = old.iter().map(|file| file.epoch.as_str()).collect();
        let mut files = Vec::new();
        for epoch in epochs {
            let mut work = Vec::new();
            for advance in record.partitions.iter().filter(|advance| advance.epoch == epoch) {
                let graph = self.graph(log, record, advance).await?;
                work.push((advance.clone(), log.base_before(record, advance).await?, graph));
            }
            if work.is_empty() {
                return Err(Error::stop(format!(
                    "record {} has no offsets for epoch {epoch}, whose files have vanished: they cannot be made again",
                    record.seq
                )));
            }
            let (mut this, id) = (self.clone(), self.env.fresh_id());
            // Where Kafka has no time, that of arrival was used: this is as near as can be known.
            this.env = Arc::new(At(record.time));
            let fresh = id.clone();
            let runtime = tokio::runtime::Handle::current();
            let pending = blocking("making files again", move || {
                let _within = runtime.enter();
                this.replay(&fresh, &work)
            });
            for file in pending.await?? {
                let file = DataFile::new(&id, file.staged().await?);
                let of_old = (epoch.to_owned(), file.file.table.clone(), file.file.hour);
                if wanted.contains(&of_old) {
                    files.push(file);
                } else {
                    self.stores.discard(&file.file).await?;
                }
            }
        }
        same_rows(record, &replaced, &files)?;
        Ok(Remade { replaced, files })
    }
}

/// The record in which files have their offsets: a repair has none of its own, it repairs another. Gives back that
/// record, which files of `record` are replaced, and which of the origin's they stand for.
async fn origin(
    log: &Log,
    record: &Record,
    missing: &[DataFile],
) -> Result<(Record, Vec<DataFile>, Vec<DataFile>)> {
    let place = |file: &DataFile| (file.file.table.clone(), file.file.hour);
    let wanted: BTreeSet<Group> = missing.iter().map(group).collect();
    let Some(mut before) = record.repairs else {
        let replaced: Vec<DataFile> =
            record.files.iter().filter(|file| wanted.contains(&group(file))).cloned().collect();
        return Ok((record.clone(), replaced.clone(), replaced));
    };
    let places: BTreeSet<(String, Hour)> = missing.iter().map(place).collect();
    let at = |files: &[DataFile]| -> Vec<DataFile> {
        files.iter().filter(|file| places.contains(&place(file))).cloned().collect()
    };
    let (replaced, mut old) = (at(&record.files), at(&record.supersedes));
    loop {
        let found = log.read(before).await?;
        let found =
            found.ok_or_else(|| Error::stop(format!("record {before} is missing from the commit log")))?;
        match found.repairs {
            None => return Ok((found, replaced, old)),
            Some(seq) => (before, old) = (seq, at(&found.supersedes)),
        }
    }
}

/// A clock that stands still.
struct At(Micros);

impl World for At {
    fn now(&self) -> Micros {
        self.0
    }

    fn fresh_id(&self) -> String {
        machine().fresh_id()
    }
}

impl Again {
    /// The rows can only be made again by the components that made them.
    async fn graph(&self, log: &Log, record: &Record, advance: &Advance) -> Result<Arc<Graph>> {
        let graph = match advance.set {
            Some(set) => self.loader.of_past(log, &self.stores, set).await?.graph,
            // An older version wrote it, which had one set for ever.
            None => {
                let near = Arc::new(self.loader.read().await?);
                self.loader.program(&self.stores, &near, None).await?.graph
            }
        };
        for work in &advance.transforms {
            let ours = graph.components().find(|c| c.identity.name == work.name);
            if ours.is_none_or(|c| c.identity.digest != work.digest) {
                return Err(Error::stop(format!(
                    "files of record {} have vanished and must be made again by transform {} {} with digest {}: put that \
                     component into {} until the host has started",
                    record.seq,
                    work.name,
                    work.version,
                    work.digest,
                    self.loader.config.transforms_place()
                )));
            }
        }
        Ok(graph)
    }

    /// Does an epoch again. Blocks.
    fn replay(&self, epoch: &str, work: &[(Advance, Base, Arc<Graph>)]) -> Result<Vec<PendingFile>> {
        let config = &self.loader.config;
        let writer = EpochWriter::new(self.stores.clone(), &self.keys, 0, config.sink());
        let (raw, rejected) = (self.raw.clone(), self.rejected.clone());
        // It is not this run that did this work.
        let mut stages = Stages { writer, raw, rejected, meters: Arc::default() };
        stages.writer.begin(epoch, vec![("tidemill.repair".into(), "true".into())]);
        let mut rejects = BTreeMap::new();
        for (advance, base, graph) in work {
            let mut decoder = Decoder::new(graph.fields(), config.max_event_size);
            let mut runner = Runner::open(graph, advance.partition, &remembered(base))?;
            // Rows that were rejected then are rejected again.
            runner.careful(true);
            runner.stand(&base.time);
            let range = (advance.partition, advance.from, advance.to);
            let events = source::replay(&config.source(), &self.env, range, |delivered| {
                stages.flow(delivered, &mut decoder, &mut runner, &mut rejects).map(|_| true)
            })?;
            let events = events.events;
            if events != advance.events {
                return Err(Error::stop(format!(
                    "partition {}: offsets {} to {} had {} events when they were committed and have {events} now: what \
                     has vanished cannot be made again in full",
                    advance.partition, advance.from, advance.to, advance.events
                )));
            }
            let told =
                advance.transforms.iter().filter_map(|work| Some((work.name.clone(), work.watermark?)));
            stages.flush(&mut runner, Due::Recorded(&told.collect()))?;
        }
        stages.finish(&[])
    }
}

/// What is put in the place of files must have their rows: no more and no fewer.
fn same_rows(record: &Record, replaced: &[DataFile], files: &[DataFile]) -> Result<()> {
    let rows = |files: &[DataFile]| {
        let mut sums: BTreeMap<(String, Hour), u64> = BTreeMap::new();
        for file in files {
            *sums.entry((file.file.table.clone(), file.file.hour)).or_default() += file.file.rows;
        }
        sums
    };
    let (before, after) = (rows(replaced), rows(files));
    if before == after {
        return Ok(());
    }
    Err(Error::stop(format!(
        "files of record {} have vanished and were made again with other rows: {before:?} before, {after:?} now; a \
         transform is not deterministic, or events without a time of their own arrived in another hour",
        record.seq
    )))
}

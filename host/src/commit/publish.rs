//! Publishing: making the files of a record visible (rules F2 to F4, F6, M5).
//!
//! It may be done by any host, any number of times, at the same time. A file that is neither staged nor visible
//! has vanished: a repair, which is a record of its own, puts another in its place, made again from Kafka.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{DataFile, Record, RecordKind};
use super::rules::Rule;
use super::store::{Published, again};
use crate::failpoint::failpoint;
use crate::{Error, Result};

/// Files that are published side by side.
const ABREAST: usize = 16;
/// Published records that are remembered.
const REMEMBERED: usize = 1000;

/// Makes files again that vanished before they were visible.
#[async_trait]
pub trait Remake: Send + Sync {
    /// Stages the rows of these files of a record anew.
    async fn remake(&self, log: &Log, record: &Record, missing: &[DataFile]) -> Result<Remade>;
}

/// What was made again.
pub struct Remade {
    /// The files whose rows are in `files`: at least those that were missing.
    pub replaced: Vec<DataFile>,
    /// The new ones, invisible.
    pub files: Vec<DataFile>,
}

/// For those who only read, or cannot make anything again.
pub struct CannotRemake;

#[async_trait]
impl Remake for CannotRemake {
    async fn remake(&self, _: &Log, record: &Record, missing: &[DataFile]) -> Result<Remade> {
        let keys: Vec<&str> = missing.iter().map(|file| file.file.key.as_str()).collect();
        Err(Error::stop(format!(
            "record {} names files that have vanished before they were visible: {}; a running host makes them again \
             from kafka (tidemill run)",
            record.seq,
            keys.join(", ")
        )))
    }
}

impl Log {
    /// Makes all files of a record visible, those of its repairs included.
    pub(super) fn publish<'a>(
        &'a mut self,
        record: &'a Arc<Record>,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            if self.published.contains(&record.seq) {
                return Ok(());
            }
            // First away with what is true no more: a reader may miss rows for a moment, but sees none twice.
            for file in &record.supersedes {
                again(&self.env, "remove a file", || self.store.remove(&file.file)).await?;
            }
            let mut missing = Vec::new();
            let mut repairs = Vec::new();
            let mut wanted = Vec::new();
            for file in &record.files {
                match self.view.superseded.contains_key(&file.file.key) {
                    true => repairs.extend(self.view.repair_of(&file.file.key)),
                    false => wanted.push(file.clone()),
                }
            }
            for (file, published) in self.show(wanted).await? {
                if published == Published::Missing {
                    missing.push(file);
                }
            }
            if !missing.is_empty() {
                if self.rules.on(Rule::ReadAfterMissing) {
                    self.refresh().await?;
                }
                // What no last record leads to was published by whoever wrote the next one, and replaced perhaps:
                // a summary does not say so for ever.
                missing.retain(|file| {
                    repairs.extend(self.view.repair_of(&file.file.key));
                    self.view.is_live(&file.file.key)
                });
                if !missing.is_empty() {
                    repairs.extend(self.repair(record, missing).await?);
                }
            }
            for repair in repairs {
                self.publish(&repair).await?;
            }
            if let Some(cleanup) = &record.cleanup {
                for remains in &cleanup.remains {
                    again(&self.env, "clean up", || self.store.clear(remains)).await?;
                }
            }
            self.published.insert(record.seq);
            while self.published.len() > REMEMBERED {
                self.published.pop_first();
            }
            Ok(())
        })
    }

    /// Makes files visible, side by side.
    async fn show(&self, files: Vec<DataFile>) -> Result<Vec<(DataFile, Published)>> {
        let (store, env) = (&self.store, &self.env);
        let work = files.into_iter().map(|file| async move {
            let done = again(env, "publish", || store.publish(&file.file)).await?;
            failpoint!("published-one");
            Ok((file, done))
        });
        let work: Vec<_> = work.collect();
        stream::iter(work).buffered(ABREAST).try_collect().await
    }

    /// Puts other files in the place of those that vanished (rule F6). None: somebody else did.
    ///
    /// It is exempt from publishing first what it repairs; what it takes away must be live at its slot.
    async fn repair(&mut self, record: &Arc<Record>, missing: Vec<DataFile>) -> Result<Option<Arc<Record>>> {
        let keys: Vec<String> = missing.iter().map(|file| file.file.key.clone()).collect();
        tracing::warn!(
            record = record.seq,
            files = keys.len(),
            "files have vanished before they were visible and are made again from kafka: {}",
            keys.join(", ")
        );
        let remake = self.remake.clone();
        let remade = again(&self.env, "make files again", || remake.remake(self, record, &missing)).await?;
        let staged = remade.files.clone();
        let mut body = Body::new(&self.env, RecordKind::Repair);
        if self.rules.on(Rule::RepairSupersedes) {
            body.record.supersedes = remade.replaced;
        }
        body.record.files = remade.files;
        let mut draft = RepairDraft(Some(body));
        let repair = self.append(&mut draft).await?;
        match repair {
            Some(repair) => Ok(Some(repair)),
            None => {
                // Another host was faster. No slot can hold ours any more, so its files can go.
                for file in &staged {
                    again(&self.env, "remove a file", || self.store.remove(&file.file)).await?;
                }
                let superseded = keys.iter().find_map(|key| self.view.repair_of(key));
                Ok(superseded)
            }
        }
    }
}

struct RepairDraft(Option<Body>);

#[async_trait]
impl Draft for RepairDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let live = |body: &&Body| {
            let superseded = &body.record.supersedes;
            let all = superseded.iter().all(|file| log.view.is_live(&file.file.key));
            all || !log.rules.on(Rule::SupersedeLive)
        };
        Ok(self.0.as_ref().filter(live).cloned())
    }
}

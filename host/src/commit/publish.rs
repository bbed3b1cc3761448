//! Publishing: making the files of a record visible (rules F2 to F4, F6, M5).
//!
//! It may be done by any host, any number of times, at the same time. A file that is neither staged nor visible
//! has vanished: a repair, which is a record of its own, puts another in its place, made again from Kafka.

use std::collections::BTreeSet;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::log::{Body, Draft, Log};
use super::position::PartitionKey;
use super::record::{DataFile, Record, RecordKind, Remains, Stretch};
use super::rules::Rule;
use super::store::{Published, again};
use crate::failpoint::failpoint;
use crate::{Error, Result};

/// Files that are published side by side.
const ABREAST: usize = 16;

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
    pub fn publish<'a>(
        &'a mut self,
        record: &'a Arc<Record>,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            if self.published.contains(&record.seq) {
                return Ok(());
            }
            // First away with what is true no more: a reader may miss rows for a moment, but sees none twice. A flip's
            // stays: its readers are in another place, and some have not heard of that yet.
            if !record.kind.flips() {
                self.remove_all(&record.supersedes).await?;
            }
            for seq in &record.sweeps {
                let files = self.swept(*seq).await?;
                let range = record.stretch(*seq).map_or(0..files.len(), |p| range(p, files.len()));
                self.remove_all(&files[range]).await?;
            }
            // Repairs of others may be faster, and be about other files: so look again until nothing is missing.
            let repairs = loop {
                let (mut missing, mut repairs, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
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
                        self.refresh_in_order().await?;
                    }
                    // What no last record leads to was published by whoever wrote the next one, and replaced
                    // perhaps: a summary does not say so for ever.
                    missing.retain(|file| {
                        repairs.extend(self.view.repair_of(&file.file.key));
                        self.view.is_live(&file.file.key)
                    });
                }
                if missing.is_empty() {
                    break repairs;
                }
                if record.kind.is_maintenance() {
                    // There is no way to make it again that is known to give the same rows. It must not stand in the
                    // way of what comes after it; the events are in the raw zone.
                    let keys: Vec<&str> = missing.iter().map(|file| file.file.key.as_str()).collect();
                    tracing::error!(
                        record = record.seq,
                        "files of a {} have vanished before they were visible: {}; tidemill verify names them as \
                         missing, {}",
                        record.kind.name(),
                        keys.join(", "),
                        match record.kind {
                            RecordKind::Replay => "their events are in the raw table",
                            RecordKind::Backfill => "their rows are in the sources that the record names",
                            _ => "their rows are in the files that the record takes away, which stay",
                        }
                    );
                    break repairs;
                }
                if let Some(repair) = self.repair(record, missing).await? {
                    repairs.push(repair);
                    break repairs;
                }
            };
            for repair in repairs {
                self.publish(&repair).await?;
            }
            if let Some(cleanup) = &record.cleanup {
                let (store, env) = (&self.store, &self.env);
                let clear = |remains: &Remains| {
                    let remains = remains.clone();
                    async move { again(env, "clean up", || store.clear(&remains)).await }
                };
                let work: Vec<_> = cleanup.remains.iter().map(clear).collect();
                stream::iter(work).buffered(ABREAST).try_collect::<()>().await?;
            }
            self.published.insert(record.seq);
            self.forget();
            Ok(())
        })
    }

    /// Forgets old records that were seen published, but none that may be asked for: that one would be published
    /// again and again.
    fn forget(&mut self) {
        let remembered = self.sizes.remembered;
        if self.published.len() as u64 <= 2 * remembered {
            return;
        }
        let newest = self.published.last().copied().unwrap_or(0);
        let asked = self.view.last.values().chain(self.view.repairs.values()).chain(&self.view.maintenance);
        let asked: BTreeSet<u64> = asked.map(|record| record.seq).collect();
        self.published.retain(|seq| asked.contains(seq) || *seq + remembered > newest);
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

    /// Puts other files in the place of those that vanished (rule F6). None: it came to nothing, look again.
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
        body.record.repairs = Some(record.seq);
        if self.rules.on(Rule::RepairSupersedes) {
            body.record.supersedes = remade.replaced;
        }
        body.record.files = remade.files;
        let mut draft = RepairDraft(body);
        if let Some(repair) = self.append(&mut draft).await? {
            return Ok(Some(repair));
        }
        // Another host was faster, or clean-up took ours for left-overs. No slot can hold ours any more, so its
        // files can go.
        let fenced = draft.is_fenced(self);
        for file in &staged {
            again(&self.env, "remove a file", || self.store.remove(&file.file)).await?;
        }
        if !fenced && keys.iter().all(|key| self.view.is_live(key)) {
            return Err(Error::stop(format!(
                "what was made again of record {} would replace files that are not true any more; this is a bug",
                record.seq
            )));
        }
        Ok(None)
    }
}

/// The files of a stretch, as far as there are so many.
pub(super) fn range(stretch: &Stretch, files: usize) -> Range<usize> {
    let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(files);
    place(stretch.from)..place(stretch.to).max(place(stretch.from))
}

struct RepairDraft(Body);

impl RepairDraft {
    /// Whether clean-up has removed what was made again, because no record named it yet (rule M1).
    fn is_fenced(&self, log: &Log) -> bool {
        log.rules.on(Rule::Fence)
            && self.0.record.files.iter().any(|file| log.view.fenced.contains(&file.epoch))
    }
}

#[async_trait]
impl Draft for RepairDraft {
    fn partitions(&self) -> Vec<PartitionKey> {
        vec![]
    }

    async fn record(&mut self, log: &Log) -> Result<Option<Body>> {
        let superseded = &self.0.record.supersedes;
        let live = superseded.iter().all(|file| log.view.is_live(&file.file.key))
            || !log.rules.on(Rule::SupersedeLive);
        // What is live lies in the current generation, and so does what takes its place.
        let live = live && log.view.check_places(log.rules, &self.0.record.files).is_ok();
        Ok((live && !self.is_fenced(log)).then(|| self.0.clone()))
    }
}

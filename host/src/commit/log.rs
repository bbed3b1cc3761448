//! The commit log: reading it, and the compare-and-set that writes it (rules L1 to L5).
//!
//! A record is true if and only if its object exists. Slots are dense from 0 and never used twice; the tail is
//! found by asking for the next slot.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};

use super::position::{PartitionKey, View};
use super::publish::Remake;
use super::record::{Record, RecordKind, Writer};
use super::rules::{Rule, Rules};
use super::store::{Store, again};
use super::summary::Sizes;
use crate::env::Env;
use crate::sink::Keys;
use crate::{Error, Kind, Result};

/// Records that are read side by side at a start.
const ABREAST: usize = 16;
/// Records that are read side by side on the way to the tail, at most.
const AHEAD: usize = 64;
/// Records that are read side by side when a slot was lost: the one in it, and what came since.
const LOST: usize = 4;

/// The commit log of one pipeline, as one host sees it. A clone is a second reader and writer.
#[derive(Clone)]
pub struct Log {
    pub(super) store: Arc<dyn Store>,
    pub(super) env: Env,
    pub(super) keys: Keys,
    pub(super) pipeline: String,
    pub(super) writer: Writer,
    pub(super) remake: Arc<dyn Remake>,
    pub(super) rules: Rules,
    pub(super) sizes: Sizes,
    pub(super) view: View,
    /// Records that were seen published.
    pub(super) published: BTreeSet<u64>,
    /// How many slots the next look for the tail asks for at once: about as many as others filled between the last two.
    pub(super) ahead: usize,
}

/// Something that is to be made true. It is asked again for every slot that is tried.
#[async_trait]
pub(super) trait Draft: Send + Sync {
    /// The partitions that it is about: their last records are published first (rule F3).
    fn partitions(&self) -> Vec<PartitionKey>;
    /// The record that is right for the log's view; none: there is nothing left to make true.
    async fn record(&mut self, log: &Log) -> Result<Option<Body>>;
}

/// What a draft says of its record; the log fills in the rest.
#[derive(Clone)]
pub(super) struct Body {
    pub(super) id: String,
    pub(super) record: Record,
}

impl Body {
    /// It as the next link in the chain of maintenance (rule M2). `told` is the last one whose hours the catalog has.
    pub(super) fn linked(&mut self, log: &Log, told: Option<u64>) -> Body {
        let record = &mut self.record;
        record.previous = log.view.maintenance.as_ref().map(|record| record.seq);
        record.owed = if record.previous == told { vec![] } else { log.view.owed() };
        // It names another record before it than at the last slot: other bytes, so another id.
        Body { id: log.env.fresh_id(), ..self.clone() }
    }

    /// A record of a kind, with nothing in it yet.
    pub(super) fn new(env: &Env, kind: RecordKind) -> Body {
        let record = Record {
            format: kind.format(),
            seq: 0,
            id: String::new(),
            kind,
            pipeline: String::new(),
            time: 0,
            writer: Writer::default(),
            topic: None,
            partitions: vec![],
            files: vec![],
            supersedes: vec![],
            repairs: None,
            cleanup: None,
            previous: None,
            owed: vec![],
            transforms: None,
            replayed: None,
            flips: vec![],
            compacted: None,
            reprocessed: None,
            restored: None,
            claim: None,
            backfilled: None,
            before: None,
            erased: None,
            sweeps: vec![],
            stretches: vec![],
        };
        Body { id: env.fresh_id(), record }
    }
}

/// Who has a slot.
enum Slot {
    Mine,
    /// Others, with the record in it and those behind it.
    Others(Vec<Record>),
    /// Only where rule L4 is switched off.
    Unknown,
}

impl Log {
    /// A log that was not read yet.
    pub fn new(store: Arc<dyn Store>, env: Env, keys: &Keys, host: &str, remake: Arc<dyn Remake>) -> Log {
        Log {
            store,
            env,
            keys: keys.clone(),
            pipeline: keys.pipeline().into(),
            writer: Writer { host: host.into(), version: env!("CARGO_PKG_VERSION").into() },
            remake,
            rules: Rules::default(),
            sizes: Sizes::USUAL,
            view: View::default(),
            published: BTreeSet::new(),
            ahead: 1,
        }
    }

    /// What the log says, as far as it was read.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Reads the log from the newest summary on: one summary and at most a hundred records.
    pub async fn open(&mut self) -> Result<()> {
        let hundreds = self.hundreds().await?;
        // No record of a hundred is written before the summary of the last one.
        if hundreds > 0 {
            let seq = hundreds * self.sizes.every - 1;
            self.view = self.read_summary(seq).await?.ok_or_else(|| {
                Error::stop(format!(
                    "the commit log has record {} but not the summary before it, {}: it is damaged; restore it",
                    seq + 1,
                    self.keys.summary(seq)
                ))
            })?;
        }
        self.store.follow(self.view.next, &self.view.generations);
        let first = self.view.next;
        let this = &*self;
        let read = (first..first + self.sizes.every)
            .map(|seq| async move { this.read(seq).await.map(|r| (seq, r)) });
        // They are read side by side; the first that is missing was the tail, unless a later one is there.
        let found: Vec<(u64, Option<Record>)> = stream::iter(read).buffered(ABREAST).try_collect().await?;
        let missing = found.iter().position(|(_, record)| record.is_none()).unwrap_or(found.len());
        let hole = found[missing..].iter().any(|(_, record)| record.is_some());
        for (_, record) in found.into_iter().take(missing) {
            self.take_in(Arc::new(record.ok_or_else(|| Error::stop("a record vanished"))?));
        }
        self.refresh().await?;
        // Somebody may have written on while we read: then the slot is taken by now.
        if hole && self.view.next == first + missing as u64 {
            return Err(Error::stop(format!(
                "the commit log has a hole: {} is missing, but a later record exists; restore it before you go on",
                self.keys.record(self.view.next)
            )));
        }
        Ok(())
    }

    /// How many hundreds of records are full: their records are dense, so a search by halves finds it.
    async fn hundreds(&self) -> Result<u64> {
        let full = async |hundreds: u64| {
            let key = self.keys.record(hundreds * self.sizes.every);
            again(&self.env, "look into the commit log", || self.store.exists(&key)).await
        };
        let mut high = 1;
        while full(high).await? {
            high *= 2;
        }
        let mut low = high / 2;
        while high - low > 1 {
            let middle = low.midpoint(high);
            if full(middle).await? { low = middle } else { high = middle }
        }
        Ok(low)
    }

    /// One record; none: the slot is free.
    pub async fn read(&self, seq: u64) -> Result<Option<Record>> {
        let key = self.keys.record(seq);
        let Some(bytes) = again(&self.env, "read the commit log", || self.store.read(&key)).await? else {
            return Ok(None);
        };
        let record = Record::decode(&key, &bytes)?;
        if record.seq != seq || record.pipeline != self.pipeline {
            return Err(Error::stop(format!(
                "{key} says that it is record {} of pipeline {}: the log was moved or damaged",
                record.seq, record.pipeline
            )));
        }
        Ok(Some(record))
    }

    /// Records from a slot on up to the first that is missing, so many at most, read side by side.
    ///
    /// One that is found behind a missing one was written after that was looked for: the next look finds both.
    async fn read_on(&self, first: u64, most: usize) -> Result<Vec<Record>> {
        let work: Vec<_> = (first..first + most as u64).map(|seq| self.read(seq)).collect();
        let mut reading = stream::iter(work).buffered(most);
        let mut found = Vec::new();
        while let Some(Some(record)) = reading.try_next().await? {
            found.push(record);
        }
        Ok(found)
    }

    /// Reads on to the tail. While it was away others may have written a lot: one after the other, reading that
    /// would take longer than they need to write it.
    pub async fn refresh(&mut self) -> Result<()> {
        let (mut abreast, mut total) = (self.ahead, 0);
        loop {
            let found = self.read_on(self.view.next, abreast).await?;
            let (count, more) = (found.len(), found.len() == abreast);
            self.take_in_all(found).await?;
            total += count;
            if !more {
                self.ahead = (total + 1).max(self.ahead / 2).min(AHEAD);
                return Ok(());
            }
            abreast = (abreast * 2).min(AHEAD);
        }
    }

    /// Reads on to the tail, one record after the other: the last that it sees is that the slot behind the tail is
    /// free. Side by side, that may be seen before the rest.
    pub(super) async fn refresh_in_order(&mut self) -> Result<()> {
        while let Some(record) = self.read(self.view.next).await? {
            self.take_in_all(vec![record]).await?;
        }
        Ok(())
    }

    async fn take_in_all(&mut self, records: Vec<Record>) -> Result<()> {
        for record in records {
            self.sum_up().await?;
            self.take_in(Arc::new(record));
        }
        Ok(())
    }

    /// Reads on to the tail, from the newest summary if the tail is far away: what a reader does that asks seldom.
    pub async fn catch_up(&mut self) -> Result<()> {
        let far = self.keys.record(self.view.next + ABREAST as u64);
        match again(&self.env, "look into the commit log", || self.store.exists(&far)).await? {
            true => self.open().await,
            false => self.refresh().await,
        }
    }

    fn take_in(&mut self, record: Arc<Record>) {
        // Its files have others in their place now: what we published of it may have to go again.
        if let Some(seq) = record.repairs {
            self.published.remove(&seq);
        }
        let flips = !record.flips.is_empty();
        self.view.fold(record);
        if flips {
            self.store.follow(self.view.next, &self.view.generations);
        }
    }

    /// Makes a draft true, at whatever slot; none: the log has moved on and nothing of it is left.
    ///
    /// While nobody answers this waits, for as long as it takes: only the slot can tell what became of it.
    pub(super) async fn append(&mut self, draft: &mut dyn Draft) -> Result<Option<Arc<Record>>> {
        self.refresh().await?;
        let (mut checked, mut slots) = (None, 0);
        loop {
            if slots == 0 || self.rules.on(Rule::PublishEachSlot) {
                // Publishing takes a while: there may be something new to publish after it.
                while self.publish_before(draft).await? {
                    self.refresh().await?;
                }
            }
            slots += 1;
            self.sum_up().await?;
            if checked.is_none() || self.rules.on(Rule::CheckAgain) {
                checked = draft.record(self).await?;
            }
            let Some(Body { id, mut record }) = checked.clone() else {
                return Ok(None);
            };
            record.seq = self.view.next;
            record.id = id;
            record.pipeline = self.pipeline.clone();
            record.writer = self.writer.clone();
            record.time = self.env.now();
            match self.put(&record).await? {
                Slot::Mine => {
                    let record = Arc::new(record);
                    self.take_in(record.clone());
                    return Ok(Some(record));
                }
                // If more came behind it than were read, the next slot is lost, too, and says so.
                Slot::Others(found) if self.rules.on(Rule::NextSlot) => self.take_in_all(found).await?,
                Slot::Others(_) | Slot::Unknown => {
                    self.refresh().await?;
                    return Ok(None);
                }
            }
        }
    }

    /// Writes a record to its slot, and stays there until it is known whose the slot is (rule L4).
    async fn put(&self, record: &Record) -> Result<Slot> {
        let (key, bytes) = (self.keys.record(record.seq), record.encode()?);
        let mut pause = super::FIRST_PAUSE;
        let mut unanswered = 0;
        loop {
            match self.store.create(&key, &bytes).await {
                Ok(true) => return Ok(Slot::Mine),
                Ok(false) => {}
                // Not known: it may have worked, and it may still work later.
                Err(e) if e.kind() == Kind::Retry => {
                    unanswered += 1;
                    if unanswered % 10 == 3 {
                        tracing::warn!("cannot write record {} yet: {e}; retrying", record.seq);
                    }
                    if !self.rules.on(Rule::Hold) && unanswered > 1 {
                        return Ok(Slot::Unknown);
                    }
                }
                Err(e) => return Err(e),
            }
            let found = self.read_on(record.seq, LOST).await?;
            match found.first() {
                Some(first) if first.id == record.id => return Ok(Slot::Mine),
                Some(_) => return Ok(Slot::Others(found)),
                None => {}
            }
            self.env.sleep(pause).await;
            pause = (pause * 2).min(super::LONGEST_PAUSE);
        }
    }

    /// Publishes what must be visible before a draft's record is written (rules F3 and M2). True: it had to.
    async fn publish_before(&mut self, draft: &dyn Draft) -> Result<bool> {
        if !self.rules.on(Rule::PublishBefore) {
            return Ok(false);
        }
        let pending = self.pending(Some(&draft.partitions()));
        for record in &pending {
            self.publish(record).await?;
        }
        Ok(!pending.is_empty())
    }

    /// The last records of partitions (none: of all) and the last maintenance record, as far as they were not seen
    /// published.
    pub(super) fn pending(&self, partitions: Option<&[PartitionKey]>) -> Vec<Arc<Record>> {
        let mut records = self.view.unpublished(partitions);
        if !self.rules.on(Rule::MaintenanceChain) {
            records.retain(|record| !record.kind.is_maintenance());
        }
        records.retain(|record| !self.published.contains(&record.seq));
        records
    }
}

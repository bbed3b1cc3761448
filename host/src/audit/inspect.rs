//! An audit on its way: the log first, then each record's files, then the places and what follows from the log.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};

use super::books::{Asked, Books, Question};
use super::chain::Chain;
use super::contents::{Gone, Tally};
use super::findings::Findings;
use super::records::{Records, Slot};
use super::rows::{self, Content, Shape};
use super::{Progress, patiently};
use crate::Result;
use crate::commit::Record;
use crate::commit::record::{DataFile, RecordKind};
use crate::pipeline::offline::Lake;
use crate::sink::Publish;
use crate::table::{self, Zone};
use crate::wait::blocking;

/// Files that are read side by side: each is held whole.
const ABREAST: usize = 4;
/// Records that are kept for questions about them.
const CACHED: usize = 64;

pub(super) struct Inspection<'a> {
    pub(super) lake: &'a mut Lake,
    pub(super) records: Records,
    pub(super) progress: Progress<'a>,
    pub(super) chain: Chain,
    pub(super) books: Books,
    pub(super) findings: Findings,
    /// The log cannot be opened, and that was found.
    pub(super) damaged: bool,
    /// The slot after the last that was read.
    pub(super) next: u64,
    cache: BTreeMap<u64, Option<Arc<Record>>>,
    /// Uploads of a zone that were begun and not completed, by key and id.
    uploads: BTreeMap<Zone, BTreeSet<(String, String)>>,
}

/// Where a file is.
enum Found {
    Content(Content),
    Missing,
    /// It is there, but not as it should be.
    Wrong,
}

impl<'a> Inspection<'a> {
    pub(super) fn new(lake: &'a mut Lake, progress: Progress<'a>) -> Self {
        Inspection {
            records: Records::new(&lake.stores, &lake.keys, &lake.env),
            chain: Chain::new(lake.shard),
            lake,
            progress,
            books: Books::default(),
            findings: Findings::default(),
            damaged: false,
            next: 0,
            cache: BTreeMap::new(),
            uploads: BTreeMap::new(),
        }
    }

    /// Everything but what is visible beside the files that the log names.
    pub(super) async fn run(&mut self) -> Result<()> {
        self.contents().await?;
        self.states().await
    }

    /// Tells how far it is.
    fn tell(&self, text: &str) {
        (self.progress)(format!("{}{text}", self.lake.shard.prefix()));
    }

    /// Reads the log on to its end, or to `end`.
    pub(super) async fn catch_up(&mut self, end: u64) -> Result<()> {
        while self.next < end {
            self.tell(&format!("reading the log: record {}", self.next));
            for (seq, slot) in self.records.some(self.next, end).await? {
                match slot {
                    Slot::There(record) => {
                        self.chain.take(&record, &mut self.findings);
                        let questions = self.books.take(&self.lake.keys, &record, &mut self.findings);
                        for question in questions {
                            self.answer(seq, question).await?;
                        }
                        self.next = seq + 1;
                    }
                    Slot::Damaged(why) => {
                        self.findings.add("record", why);
                        self.chain.absent.insert(seq);
                        self.next = seq + 1;
                    }
                    Slot::Free if !self.hole(seq).await? => return Ok(()),
                    Slot::Free => {}
                }
            }
        }
        Ok(())
    }

    /// Steps over free slots before others. False: there are none, it is the log's end.
    async fn hole(&mut self, seq: u64) -> Result<bool> {
        let Some(later) = self.records.beyond(seq).await? else { return Ok(false) };
        // A host may have written both since we looked.
        if !matches!(self.records.read(seq).await?, Slot::Free) {
            return Ok(true);
        }
        let missing = if later == seq + 1 {
            format!("record {seq} is")
        } else {
            format!("records {seq} to {} are", later - 1)
        };
        self.findings.add("hole", format!("{missing} missing, but record {later} is there"));
        self.chain.absent.extend(seq..later);
        self.next = later;
        Ok(true)
    }

    async fn answer(&mut self, seq: u64, question: Question) -> Result<()> {
        let Question { epoch, key, kind } = question;
        let named = self.named(&epoch, &key, seq).await?;
        let superseded = self.books.superseded(&key).filter(|by| *by != seq);
        match (kind, named) {
            (Asked::New, Some(first)) => {
                self.findings
                    .add("twice", format!("record {seq} names {key}, which record {first} made true"));
            }
            (Asked::Removed, Some(first)) if superseded.is_none() => {
                self.findings
                    .add("fenced", format!("record {seq} removes {key}, which record {first} made true"));
            }
            (Asked::Superseded, None) => {
                self.findings
                    .add("chain", format!("record {seq} supersedes {key}, which no record made true"));
            }
            _ => {}
        }
        Ok(())
    }

    /// The record before `end` that made a file true.
    pub(super) async fn named(&mut self, epoch: &str, key: &str, end: u64) -> Result<Option<u64>> {
        let Some(seq) = self.books.record_of(epoch).filter(|seq| *seq < end) else { return Ok(None) };
        let record = self.record(seq).await?;
        Ok(record.filter(|record| record.files.iter().any(|file| file.file.key == key)).map(|_| seq))
    }

    pub(super) async fn record(&mut self, seq: u64) -> Result<Option<Arc<Record>>> {
        if let Some(record) = self.cache.get(&seq) {
            return Ok(record.clone());
        }
        if self.cache.len() >= CACHED {
            self.cache.clear();
        }
        let record = match self.records.read(seq).await? {
            Slot::There(record) => Some(Arc::from(record)),
            Slot::Free | Slot::Damaged(_) => None,
        };
        self.cache.insert(seq, record.clone());
        Ok(record)
    }

    /// Reads every file, a record at a time.
    async fn contents(&mut self) -> Result<()> {
        let (mut seq, end) = (0, self.next);
        while seq < end {
            for (at, slot) in self.records.some(seq, end).await? {
                seq = at + 1;
                let Slot::There(record) = slot else { continue };
                if record.kind != RecordKind::Repair {
                    self.tell(&format!("reading files: record {at} of {end}"));
                    self.content(&record).await?;
                }
            }
        }
        Ok(())
    }

    async fn content(&mut self, record: &Record) -> Result<()> {
        match record.kind {
            RecordKind::Compact => return self.compacted(record).await,
            RecordKind::Restore => return self.restored(record).await,
            RecordKind::Erase => return self.erased(record).await,
            kind if kind.flips() => return self.rewritten(record).await.map(drop),
            _ => {}
        }
        let raw = record.topic.as_ref().map(|topic| table::raw(&topic.name).name);
        let (files, gone) = self.true_files(record, raw.as_deref()).await?;
        let shape = |file: &DataFile| match file.file.zone {
            Zone::Raw if Some(&file.file.table) == raw.as_ref() => Shape::Raw,
            Zone::Processed if file.file.table == table::REJECTED => Shape::Rejected,
            _ => Shape::Made,
        };
        let (mut tally, mut whole) = (Tally::default(), true);
        let (stores, env) = (self.lake.stores.clone(), self.lake.env.clone());
        let reads = files.into_iter().map(|file| {
            let (shape, stores, env) = (shape(&file), stores.clone(), env.clone());
            async move {
                let store = stores.of(file.file.zone);
                let bytes = patiently(&env, || store.read(&file.file.key)).await?;
                let read = blocking("reading a file", move || {
                    bytes.map(|bytes| (bytes.len() as u64, rows::read(bytes, shape)))
                });
                Ok::<_, crate::Error>((file, shape, read.await?))
            }
        });
        let reads: Vec<_> = reads.collect();
        let mut reads = stream::iter(reads).buffered(ABREAST);
        while let Some(read) = reads.next().await {
            let (file, shape, read) = read?;
            match self.found(record, &file, read).await? {
                Found::Content(content) => tally.add(&file.file.table, shape, content),
                Found::Missing | Found::Wrong => whole = false,
            }
        }
        match record.kind {
            _ if !whole => {}
            RecordKind::Replay => tally.check_replay(record, &mut self.findings),
            RecordKind::Backfill => tally.check_backfill(record, &gone, &mut self.findings),
            _ => tally.check(record, &gone, &mut self.findings),
        }
        Ok(())
    }

    /// The files that hold a record's rows: its own, and those that took the place of some. What replays, compactions
    /// and expiries have taken away is in their records.
    async fn true_files(&mut self, record: &Record, raw: Option<&str>) -> Result<(Vec<DataFile>, Gone)> {
        let (mut todo, mut known, mut files) = (record.files.clone(), BTreeSet::new(), Vec::new());
        let mut gone = Gone::default();
        todo.reverse();
        while let Some(file) = todo.pop() {
            if !known.insert(file.file.key.clone()) {
                continue;
            }
            match self.books.superseded(&file.file.key) {
                None => files.push(file),
                Some(by) if self.books.is_flip(by) => gone.add(&file, raw),
                Some(by) => {
                    let by = self.record(by).await?;
                    if by.as_ref().is_some_and(|by| by.kind == RecordKind::Replay) {
                        gone.rejected = true;
                        continue;
                    }
                    todo.extend(by.iter().flat_map(|repair| repair.files.iter().rev().cloned()));
                }
            }
        }
        Ok((files, gone))
    }

    async fn found(
        &mut self,
        record: &Record,
        file: &DataFile,
        read: Option<(u64, Result<Content, String>)>,
    ) -> Result<Found> {
        let (seq, key) = (record.seq, &file.file.key);
        let Some((bytes, content)) = read else {
            self.absent(record, file).await?;
            return Ok(Found::Missing);
        };
        if bytes != file.file.bytes {
            self.findings
                .add("size", format!("record {seq}: {key} has {bytes} bytes instead of {}", file.file.bytes));
        }
        match content {
            Err(why) => {
                self.findings.add("unreadable", format!("record {seq}: {key} cannot be read: {why}"));
                Ok(Found::Wrong)
            }
            Ok(content) if content.rows != file.file.rows => {
                let (rows, wanted) = (content.rows, file.file.rows);
                self.findings.add("rows", format!("record {seq}: {key} has {rows} rows instead of {wanted}"));
                Ok(Found::Wrong)
            }
            Ok(content) => Ok(Found::Content(content)),
        }
    }

    /// A file that no reader sees. Those of last records may still be under way.
    pub(super) async fn absent(&mut self, record: &Record, file: &DataFile) -> Result<()> {
        let (seq, key, rows) = (record.seq, &file.file.key, file.file.rows);
        if !self.chain.is_last(seq) {
            self.findings.add("missing", format!("record {seq}: {key} is missing, with {rows} rows"));
        } else if self.staged(file).await? {
            self.findings.add(
                "unpublished",
                format!("record {seq}: {key} is staged and not visible yet, with {rows} rows"),
            );
        } else {
            self.findings.add(
                "missing",
                format!(
                    "record {seq}: {key} is neither visible nor staged any more, with {rows} rows; {}",
                    match record.kind {
                        RecordKind::Replay => "their events are in the raw table",
                        RecordKind::Backfill => "its rows are in the sources that the record names",
                        kind if kind.flips() =>
                            "its rows are in the files that the record takes away, which stay",
                        _ => "a running host makes it again from kafka (tidemill run)",
                    }
                ),
            );
        }
        Ok(())
    }

    async fn staged(&mut self, file: &DataFile) -> Result<bool> {
        let store = self.lake.stores.of(file.file.zone);
        let env = &self.lake.env;
        match &file.file.how {
            Publish::Rename { staging } => patiently(env, || store.exists(staging)).await,
            Publish::Upload { id, .. } => {
                let uploads = match self.uploads.entry(file.file.zone) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(unknown) => {
                        let waiting = patiently(env, || store.waiting()).await?;
                        unknown.insert(waiting.into_iter().filter_map(|w| Some((w.key, w.upload?))).collect())
                    }
                };
                Ok(uploads.contains(&(file.file.key.clone(), id.clone())))
            }
        }
    }
}

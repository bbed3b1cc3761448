//! Sends rejected rows back through the transforms that the commit log names, and makes what becomes of them true.
//!
//! ```text
//! live files of rejected_events ──pick──> decode ──> transforms ──> rows, rejects ──┐
//!        │                                                                          ├──> staged files ──> one record
//!        └──────────────────────── rows with other reasons, as they are ────────────┘
//! ```
//!
//! The contract:
//!
//! * Files go in portions, whole; a portion is one record. Before it nothing is true, after it everything: see
//!   [`Log::replay`](crate::commit::Log::replay).
//! * If a file was taken away by another host meanwhile, the portion is dropped and made anew from the log as it is
//!   then. So it is if another set of transforms became the one to run.
//! * A file that this run has made is not looked into again: what is rejected for the same reason stays rejected.
//! * Memory is bounded by a batch, the encoders' buffers and the instances, one set for each partition.

mod pick;
mod portion;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::offline::Lake;
use super::program::Program;
use super::stages::{staged, stored};
use crate::audit::Progress;
use crate::commit::record::{DataFile, Replayed, Work};
use crate::commit::{Portion, Record};
use crate::config::Config;
use crate::rejects::{Filter, Reason};
use crate::wait::blocking;
use crate::{Error, Kind, Result};
use pick::Picked;
use portion::{Made, Task};

/// How often a portion is made anew because the log has moved on.
const TRIES: u32 = 10;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The rows to send back. It must name their reason.
    pub wanted: Filter,
    /// Nothing is written.
    pub dry: bool,
    /// How large a portion may get.
    pub portion: Bounds,
}

/// How large a portion may get: the file that reaches a bound is its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Rows that go.
    pub rows: u64,
    /// Bytes of the files that they stand in.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { rows: 100_000, bytes: 64 << 20 }
    }
}

/// What a replay did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows that went through the transforms.
    pub rows: u64,
    /// Rows that were meant and stay as they were, by why.
    pub left: BTreeMap<String, u64>,
    /// Rows that could not be decoded, again.
    pub undecoded: u64,
    /// Rows that were rejected again.
    pub again: u64,
    /// Rows for tables of transforms.
    pub tables: BTreeMap<String, u64>,
    /// What became of the rows, by transform.
    pub transforms: Vec<Work>,
    /// The records that say so.
    pub records: Vec<u64>,
    /// What is left to be told to the catalog, for people.
    pub untold: Option<String>,
}

impl Report {
    /// Takes in what was done in another log, but for its records, whose numbers are its own.
    pub fn join(&mut self, other: Report) {
        self.rows += other.rows;
        self.undecoded += other.undecoded;
        self.again += other.again;
        for (why, rows) in other.left {
            *self.left.entry(why).or_default() += rows;
        }
        for (table, rows) in other.tables {
            *self.tables.entry(table).or_default() += rows;
        }
        other.transforms.iter().for_each(|work| work.add_to(&mut self.transforms));
        self.untold = self.untold.take().or(other.untold);
    }

    fn add(&mut self, made: &Made) {
        self.rows += made.rows;
        self.undecoded += made.undecoded;
        self.again += made.again;
        for (why, rows) in &made.left {
            *self.left.entry(why.clone()).or_default() += rows;
        }
        for (table, rows) in &made.tables {
            *self.tables.entry(table.clone()).or_default() += rows;
        }
        made.works.iter().for_each(|work| work.add_to(&mut self.transforms));
    }
}

/// Sends rejected rows back.
pub async fn replay(
    config: &Config,
    lake: &mut Lake,
    order: &Order,
    progress: Progress<'_>,
) -> Result<Report> {
    let Some(Reason::Exactly(reason)) = order.wanted.reason.clone() else {
        return Err(Error::usage("a replay needs the reason of the rows"));
    };
    let mut run = Run { config, order, reason, seen: BTreeSet::new(), told: None };
    let (mut report, mut tries) = (Report::default(), 0);
    let mut program: Option<Program> = None;
    loop {
        lake.log.refresh().await?;
        // What is true must be visible before its files can be taken away.
        lake.log.roll_forward(None).await.map_err(stored)?;
        let now = lake.program(config, program.take()).await?;
        let files = run.pick(lake, &now, progress).await?;
        let done = match &files {
            Some(files) if files.is_empty() => return Ok(report),
            Some(files) => {
                let rows: u64 = files.iter().map(|file| file.rows).sum();
                progress(format!("replaying {rows} rows of {} files", files.len()));
                run.portion(lake, &now, files).await?
            }
            None => None,
        };
        match done {
            Some((made, record)) => {
                let files = files.unwrap_or_default();
                run.seen.extend(files.iter().map(|picked| picked.file.file.key.clone()));
                report.add(&made);
                if let Some(record) = record {
                    run.seen.extend(record.files.iter().map(|file| file.file.key.clone()));
                    report.records.push(record.seq);
                    report.untold = run.register(lake, &now, &record).await;
                }
                tries = 0;
            }
            None if tries < TRIES => tries += 1,
            None => {
                return Err(Error::stop(
                    "other hosts replace the files of rejected_events again and again; try later, what was done so \
                     far is in the log",
                ));
            }
        }
        program = Some(now);
    }
}

struct Run<'a> {
    config: &'a Config,
    order: &'a Order,
    reason: String,
    /// Keys of files that are done: those that were read, and those that were made.
    seen: BTreeSet<String>,
    /// The last maintenance record whose hours the catalog has.
    told: Option<u64>,
}

impl Run<'_> {
    /// The next files with rows that are meant, up to a portion. None: the log has moved on.
    async fn pick(
        &mut self,
        lake: &Lake,
        program: &Program,
        progress: Progress<'_>,
    ) -> Result<Option<Vec<Picked>>> {
        let (mut picked, mut rows, mut bytes) = (Vec::new(), 0, 0);
        let files = self.order.wanted.files(&lake.log).await?;
        let mut files: Vec<DataFile> =
            files.into_iter().filter(|file| !self.seen.contains(&file.file.key)).collect();
        let count = files.len();
        for (at, file) in files.drain(..).enumerate() {
            progress(format!("looking for rows: file {} of {count}", at + 1));
            let key = file.file.key.clone();
            let Some(one) = pick::pick(lake, &self.order.wanted, &program.graph, file).await? else {
                return Ok(None);
            };
            if one.rows == 0 {
                self.seen.insert(key);
                continue;
            }
            (rows, bytes) = (rows + one.rows, bytes + one.file.file.bytes);
            picked.push(one);
            if rows >= self.order.portion.rows || bytes >= self.order.portion.bytes {
                break;
            }
        }
        Ok(Some(picked))
    }

    /// Does a portion. None: it came to nothing, because the log has moved on.
    async fn portion(
        &self,
        lake: &mut Lake,
        program: &Program,
        files: &[Picked],
    ) -> Result<Option<(Made, Option<Arc<Record>>)>> {
        let epoch = lake.env.fresh_id();
        let task = Task::new(lake, self.config, &self.order.wanted, program, &epoch, self.order.dry)?;
        let (picked, runtime) = (files.to_vec(), tokio::runtime::Handle::current());
        let made = blocking("replaying rows", move || {
            // Guests print through the runtime.
            let _within = runtime.enter();
            task.run(&picked)
        });
        let mut made = match made.await? {
            Ok(made) => made,
            Err(e) => {
                for Picked { file, .. } in files {
                    let store = lake.stores.of(file.file.zone);
                    if store.size(&file.file.key).await?.is_none() {
                        return Ok(None);
                    }
                }
                // Nobody goes back to the last commit here.
                let kind = if e.kind() == Kind::Usage { Kind::Usage } else { Kind::Stop };
                return Err(Error::new(kind, format!("nothing of this portion became true: {e}")));
            }
        };
        let pending = std::mem::take(&mut made.files).into_iter().map(|file| (epoch.clone(), file));
        let staged = staged(pending).await?;
        if made.rows == 0 || self.order.dry {
            for file in &staged {
                lake.stores.discard(&file.file).await?;
            }
            return Ok(Some((made, None)));
        }
        let replayed = Replayed {
            reason: self.reason.clone(),
            set: program.set,
            rows: made.rows,
            kept: made.kept,
            undecoded: made.undecoded,
            again: made.again,
            transforms: made.works.clone(),
        };
        let supersedes = files.iter().map(|picked| picked.file.clone()).collect();
        let portion = Portion { supersedes, files: staged, replayed };
        let record = lake.log.replay(portion, self.told).await?;
        Ok(record.map(|record| (made, Some(record))))
    }

    /// Tells the catalog. What it does not take is said, and stands in the log for hosts to go on with.
    async fn register(&mut self, lake: &mut Lake, program: &Program, record: &Record) -> Option<String> {
        let untold = lake.tell(&program.tables, record).await;
        if untold.is_none() {
            self.told = Some(record.seq);
        }
        untold
    }
}

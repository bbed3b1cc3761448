//! Makes hours of tables anew from the raw zone, by the transforms that the commit log names, and puts them back.
//!
//! ```text
//! raw files ──in the order of time──> decode ──> transforms ──> rows of these hours, rejects ──┐
//! rows of rejected_events that stay as they are ───────────────────────────────────────────────┤
//! files that came into these hours meanwhile, copied ──────────────────────────────────────────┴──> one record (flips)
//! ```
//!
//! The contract:
//!
//! * All hours of a portion become true in one record, in all tables of these transforms and in `rejected_events`. Until
//!   then nothing has changed. What was there before stays for [`restore`], until a sweep.
//! * What is read is what the log says at one slot. What hosts add to these hours later is the same transforms' work, so
//!   it is taken along as it is. If it is the work of others, or others have rewritten one of the hours, nothing becomes
//!   true.
//! * A transform with state hands out what the stream was asked for by then, and no more: the rest is still to come from
//!   the stream.
//! * An event whose rows lie in one of these hours, and which had been rejected, leaves `rejected_events`, whatever hour
//!   it stands in there.
//! * Memory is bounded: rows are read in slices, the encoders have their bounds, and of events only those are remembered
//!   that had been rejected, or lie outside of the hours.

mod carry;
mod diff;
mod fill;
mod pass;
mod plan;
mod rejects;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::offline::Lake;
use super::program::Program;
use super::stages::{staged, stored};
use crate::audit::Progress;
use crate::commit::record::{Brought, DataFile, Flip, Reprocessed, Work};
use crate::commit::{Deed, Rewritten};
use crate::config::Config;
use crate::failpoint::failpoint;
use crate::history::{Teller, ended, write_views};
use crate::table::Hour;
use crate::{Error, Kind, Result};
use pass::Made;
use plan::Plan;

pub use diff::{Changes, Sample};
pub use fill::{Filling, fill};
pub use restore::{Restoration, restore};

/// What is to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The transforms whose tables are; those that read what they make belong to them. Empty: all.
    pub transforms: Vec<String>,
    /// The first hour.
    pub since: Hour,
    /// The hour after the last.
    pub until: Hour,
    /// How long before the first hour events are read: windows that reach into it began there.
    pub warm_up: Duration,
    /// How much later than an hour's end its events may have come; none: at any time since.
    pub late: Option<Duration>,
    /// The hours belong to more that are made in portions of so many hours: the first, and the one after the last. Rows of
    /// others that come later than `late` allows are looked for.
    pub of: Option<(Hour, Hour, u32)>,
    /// Bytes of rows that may be held while files are read.
    pub memory: usize,
    /// What is done with the result.
    pub doing: Doing,
}

/// What is done with hours that were made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// They are not made: what would be read is said.
    Plan,
    /// They are compared with those that are there, with so many samples of a kind of change. Nothing becomes true.
    Compare(usize),
    /// They become true.
    Flip,
}

/// What became of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// The table.
    pub table: String,
    /// Hours with other files now.
    pub hours: u64,
    /// Files before and after.
    pub files: (u64, u64),
    /// Rows before and after.
    pub rows: (u64, u64),
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What became of each table.
    pub tables: Vec<Rebuilt>,
    /// Events of the raw zone that were read, or would be.
    pub events: u64,
    /// Those of them that could not be decoded.
    pub undecoded: u64,
    /// What became of the events, by transform.
    pub transforms: Vec<Work>,
    /// What would change, by table; only of a comparison.
    pub changes: Vec<Changes>,
    /// Rows that came meanwhile and were taken along.
    pub carried: u64,
    /// Hours of other portions with rows that came later than was said: these rows are missing there.
    pub missed: BTreeSet<Hour>,
    /// The records that say so.
    pub records: Vec<u64>,
    /// What is left to be told to the catalog, for people.
    pub untold: Option<String>,
}

/// Makes hours anew. The log was opened.
pub async fn reprocess(
    config: &Config,
    lake: &mut Lake,
    order: &Order,
    progress: Progress<'_>,
) -> Result<Report> {
    lake.log.refresh().await?;
    let program = lake.program(config, None).await?;
    let mut report = Report::default();
    let portions = plan::portions(lake, &program, order).await?;
    let count = portions.len();
    for (at, portion) in portions.into_iter().enumerate() {
        let told = |text: String| match count {
            1 => progress(text),
            _ => progress(format!("portion {} of {count}: {text}", at + 1)),
        };
        one(config, lake, &program, order, portion, None, &mut report, &told).await.map_err(ended)?;
    }
    Ok(report)
}

/// One portion of hours. An error of the kind [`Kind::Abandon`] says that others have moved the log on.
#[allow(clippy::too_many_arguments)]
async fn one(
    config: &Config,
    lake: &mut Lake,
    program: &Program,
    order: &Order,
    (since, until): (Hour, Hour),
    fills: Option<Brought>,
    report: &mut Report,
    progress: Progress<'_>,
) -> Result<()> {
    let order = Order { since, until, ..order.clone() };
    // Of what a portion before has flipped.
    lake.log.refresh().await?;
    if order.doing != Doing::Plan {
        // What is true must be visible before it can be read.
        while !lake.log.roll_forward(None).await.map_err(stored)?.is_empty() {}
    }
    let plan = Arc::new(Plan::of(lake, program, &order).await?);
    if order.doing == Doing::Plan {
        report.events += plan.events();
        add(report, &plan, &[], &BTreeSet::new());
        return Ok(());
    }
    let scratch = match order.doing {
        Doing::Compare(_) => Some(diff::Scratch::new(lake)?),
        Doing::Plan | Doing::Flip => None,
    };
    let stores = match &scratch {
        Some(scratch) => scratch.stores.clone(),
        None => lake.stores.ahead(&plan.generations),
    };
    let made = make(config, lake, program, &plan, &order, stores, progress).await?;
    let files = staged(made.files).await?;
    report.events += made.events;
    report.undecoded += made.undecoded;
    report.missed.extend(&made.missed);
    made.works.iter().for_each(|work| work.add_to(&mut report.transforms));
    add(report, &plan, &files, &made.rejected);
    if let (Some(scratch), Doing::Compare(samples)) = (scratch, order.doing) {
        scratch.show(&files).await?;
        progress("comparing".into());
        let changes =
            diff::compare(lake, &scratch, &plan, &files, &made.rejected, order.memory, samples).await?;
        diff::join(&mut report.changes, changes, samples);
        return Ok(());
    }
    failpoint!("reprocess-made");
    let flips = flips(&plan, &files, &made.rejected);
    if flips.is_empty() && fills.is_none() {
        return Ok(());
    }
    let flipped: BTreeSet<(&str, i64)> = flips.iter().map(|flip| (flip.table.as_str(), flip.hour)).collect();
    let taken = plan.old.iter().filter(|((table, hour), _)| flipped.contains(&(table.as_str(), *hour)));
    let supersedes = taken.flat_map(|(_, files)| files.iter().cloned()).collect();
    let deed = Deed::Reprocessed(Reprocessed {
        set: program.set,
        events: made.events,
        undecoded: made.undecoded,
        carried: 0,
        fills,
        transforms: made.works,
    });
    let mut teller = Teller::new(lake, &program.tables);
    let rewritten = Rewritten { flips, supersedes, files, deed };
    let done = carry::flip(lake, rewritten, plan.next, program.set, teller.told()).await?;
    teller.tell(lake, &done.record).await;
    failpoint!("reprocess-told");
    write_views(lake, &program.tables).await?;
    report.carried += done.carried;
    report.records.push(done.record.seq);
    report.untold = teller.untold();
    Ok(())
}

/// Runs the pass, on a thread that may block; once more and with care if a transform fails on some row.
async fn make(
    config: &Config,
    lake: &Lake,
    program: &Program,
    plan: &Arc<Plan>,
    order: &Order,
    stores: crate::sink::Stores,
    progress: Progress<'_>,
) -> Result<Made> {
    let mut careful = false;
    loop {
        let (send, mut said) = tokio::sync::mpsc::unbounded_channel::<String>();
        let pass = pass::Pass::new(config, lake, program, plan, order, stores.clone(), careful, send)?;
        let runtime = Handle::current();
        let (done, mut made) = tokio::sync::oneshot::channel();
        let work = move || {
            // Guests print through the runtime.
            let _within = runtime.enter();
            let _ = done.send(pass.run());
        };
        let thread = std::thread::Builder::new().name("reprocess".into()).spawn(work);
        thread.map_err(|e| Error::stop(format!("cannot start a thread: {e}")))?;
        let result = loop {
            tokio::select! {
                Some(text) = said.recv() => progress(text),
                result = &mut made => break result,
            }
        };
        let (made, result) =
            result.map_err(|_| Error::stop("the thread that runs transforms panicked; this is a bug"))?;
        match result {
            Ok(()) => return Ok(made),
            Err(e) => {
                for (_, file) in made.files {
                    // What is left is clean-up's.
                    let _ = file.discard().await;
                }
                if careful || e.kind() != Kind::Abandon {
                    let kind = if e.kind() == Kind::Usage { Kind::Usage } else { Kind::Stop };
                    return Err(Error::new(kind, format!("nothing of it became true: {e}")));
                }
                progress(format!("a transform failed on some row, which is looked for: {e}"));
                careful = true;
            }
        }
    }
}

/// The hours that have other files then: those that had some or have some, and of rejected events those that change.
fn flips(plan: &Plan, files: &[DataFile], rejected: &BTreeSet<Hour>) -> Vec<Flip> {
    let brought = files.iter().map(|file| (file.file.table.clone(), file.file.hour.0));
    let had = plan.old.keys().filter(|(table, _)| table != crate::table::REJECTED).cloned();
    let others = rejected.iter().map(|hour| (crate::table::REJECTED.to_owned(), hour.0));
    let all: BTreeSet<(String, i64)> = brought.chain(had).chain(others).collect();
    let flip = |(table, hour): (String, i64)| {
        let generation = plan.generations.get(&table, Hour(hour)).generation.saturating_add(1);
        Flip { table, hour, generation }
    };
    all.into_iter().map(flip).collect()
}

/// Counts files and rows before and after; of rejected events only in hours that change.
fn add(report: &mut Report, plan: &Plan, files: &[DataFile], rejected: &BTreeSet<Hour>) {
    let mut tables: BTreeMap<&str, (BTreeSet<i64>, [u64; 4])> = BTreeMap::new();
    let changes = |table: &str, hour: i64| table != crate::table::REJECTED || rejected.contains(&Hour(hour));
    let old = plan.old.iter().filter(|((table, hour), _)| changes(table, *hour));
    let before = old.flat_map(|(_, files)| files).map(|file| (file, 0));
    for (DataFile { file, .. }, at) in before.chain(files.iter().map(|file| (file, 1))) {
        let (hours, counts) = tables.entry(&file.table).or_default();
        hours.insert(file.hour.0);
        counts[at] += 1;
        counts[at + 2] += file.rows;
    }
    for (table, (hours, [old, new, were, are])) in tables {
        let known = report.tables.iter_mut().position(|known| known.table == table);
        let at = known.unwrap_or_else(|| {
            report.tables.push(Rebuilt { table: table.into(), ..Rebuilt::default() });
            report.tables.len() - 1
        });
        let sum = &mut report.tables[at];
        sum.hours += hours.len() as u64;
        sum.files = (sum.files.0 + old, sum.files.1 + new);
        sum.rows = (sum.rows.0 + were, sum.rows.1 + are);
    }
}

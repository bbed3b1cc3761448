//! Merging the files of hours that are closed, one hour after the other.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::merge::Merge;
use super::plan::{Order, Task, beyond, refused};
use super::read::Source;
use super::sweep::{Swept, swept};
use super::tell::Teller;
use super::{clock, ended, views};
use crate::audit::Progress;
use crate::catalog::TableSpec;
use crate::commit::record::{Compacted, DataFile, Flip};
use crate::commit::{Deed, Rewritten};
use crate::failpoint::failpoint;
use crate::generations::{FIRST, Generations, Place};
use crate::pipeline::offline::Lake;
use crate::sink::{HourWriter, PendingFile};
use crate::table::Hour;
use crate::{Error, Kind, Result};

/// An hour that was rewritten, or would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The table.
    pub table: String,
    /// The hour.
    pub hour: Hour,
    /// Files before and after; after is none where nothing was written.
    pub files: (u64, Option<u64>),
    /// Bytes, likewise.
    pub bytes: (u64, Option<u64>),
    /// Rows, likewise.
    pub rows: (u64, Option<u64>),
    /// The record that says so.
    pub record: Option<u64>,
    /// How long it took.
    pub took: Duration,
}

/// What was merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The hours, in the order in which they were done.
    pub hours: Vec<Done>,
    /// What was left alone, and why.
    pub left: Vec<String>,
    /// What was removed of what earlier runs took away.
    pub swept: Swept,
    /// What is left to be told to the catalog, for people.
    pub untold: Option<String>,
}

/// Merges hours. The log was read.
pub async fn compact(
    lake: &mut Lake,
    specs: &[TableSpec],
    order: &Order,
    progress: Progress<'_>,
) -> Result<Report> {
    let mut report = Report::default();
    lake.log.refresh().await?;
    if !order.dry {
        // What is true must be visible before it can be read.
        lake.log.roll_forward(None).await.map_err(ended)?;
    }
    let now = clock::now(lake).await?;
    let mut teller = Teller::new(lake, specs);
    if !order.dry && !lake.log.view().generations().is_empty() {
        // A late request may have taken something back since the last run.
        teller.reconcile(lake, specs).await?;
    }
    for spec in specs.iter().filter(|spec| order.names(&spec.table.name)) {
        let name = &spec.table.name;
        match refused(lake.catalog.as_ref(), spec).await {
            Ok(None) => {}
            Ok(Some(mut why)) => {
                // Switched on since, or an expired hour that has got late events.
                let unseen = rewritten(lake.log.view().generations(), name);
                if unseen > 0 {
                    why.push_str(&format!(
                        "; {unseen} hours of it lie elsewhere, and Athena does not see them until projection is switched off"
                    ));
                }
                report.left.push(why);
                continue;
            }
            Err(e) => {
                report
                    .left
                    .push(format!("table {name}: the catalog must say how its readers find hours: {e}"));
                // The others would wait for nothing, one after the other.
                if e.kind() == Kind::Retry { break } else { continue }
            }
        }
        let enough = |report: &Report| order.hours.is_some_and(|most| report.hours.len() >= most);
        let mut flipped = false;
        for date in lake.log.dates(name) {
            if enough(&report) {
                break;
            }
            if let Some(why) = beyond(name, &date) {
                report.left.push(why);
                continue;
            }
            progress(format!("looking at {name}, {date}"));
            if !order.dry {
                // The log was read on since: what came is to be visible, too.
                lake.log.roll_forward(None).await.map_err(ended)?;
            }
            for task in order.tasks(&lake.log, spec, &date, now).await? {
                if enough(&report) {
                    break;
                }
                progress(format!("{name}, {}: merging {} files", task.hour, task.files.len()));
                match hour(lake, &task, order, &mut teller).await? {
                    Ok(done) => {
                        flipped |= done.record.is_some();
                        report.hours.push(done);
                    }
                    Err(why) => report.left.push(format!("{name}, {}: {why}", task.hour)),
                }
            }
        }
        if flipped {
            views::write_views(lake, std::slice::from_ref(spec)).await?;
        }
    }
    if !order.dry {
        report.swept = swept(lake, specs, order.keep, &mut teller).await?;
    }
    report.untold = teller.untold;
    Ok(report)
}

/// How many hours of a table have files in a later generation.
fn rewritten(now: &Generations, table: &str) -> i64 {
    let runs = now.runs(table).filter(|(_, _, standing)| standing.generation > FIRST && !standing.empty);
    runs.map(|(first, last, _)| last.0 - first.0 + 1).sum()
}

/// One hour. The inner error says why it is left alone.
async fn hour(
    lake: &mut Lake,
    task: &Task,
    order: &Order,
    teller: &mut Teller,
) -> Result<std::result::Result<Done, String>> {
    let (begun, name) = (Instant::now(), task.spec.table.name.clone());
    let mut done = Done {
        table: name.clone(),
        hour: task.hour,
        files: (task.files.len() as u64, None),
        bytes: (task.bytes(), None),
        rows: (task.rows(), None),
        record: None,
        took: Duration::ZERO,
    };
    if order.dry {
        return Ok(Ok(done));
    }
    let epoch = lake.env.fresh_id();
    let (pending, compacted) = match merged(lake, task, order, &epoch).await? {
        Ok(made) => made,
        Err(e) if e.kind() == Kind::Retry => return Err(Error::stop(e.to_string())),
        Err(e) => {
            // Somebody may have taken the files away while they were read.
            lake.log.refresh().await?;
            let live = lake.log.live_in(&name, task.hour).await?;
            let gone = task.files.iter().any(|file| !live.contains_key(&file.file.key));
            return Ok(Err(if gone { "others have rewritten it meanwhile".into() } else { e.to_string() }));
        }
    };
    failpoint!("compact-merged");
    let mut files = Vec::with_capacity(pending.len());
    for file in pending {
        files.push(DataFile::new(&epoch, file.staged().await.map_err(ended)?));
    }
    let (rows, bytes) = files.iter().fold((0, 0), |(r, b), file| (r + file.file.rows, b + file.file.bytes));
    let count = files.len() as u64;
    let supersedes = task.files.clone();
    let flip = Flip { table: name, hour: task.hour.0, generation: task.generation() };
    let rewritten = Rewritten { flips: vec![flip], supersedes, files, deed: Deed::Compacted(compacted) };
    let Some(record) = lake.log.rewrite_once(&rewritten, teller.told).await.map_err(ended)? else {
        return Ok(Err("it has changed while it was merged; the next run does it".into()));
    };
    teller.tell(lake, &record).await;
    failpoint!("compact-told");
    done.files.1 = Some(count);
    done.bytes.1 = Some(bytes);
    done.rows.1 = Some(rows);
    done.record = Some(record.seq);
    done.took = begun.elapsed();
    Ok(Ok(done))
}

type Made = (Vec<PendingFile>, Compacted);

/// Reads and writes, on a thread of its own: it blocks, and others go before it. The inner error is the work's.
async fn merged(lake: &Lake, task: &Task, order: &Order, epoch: &str) -> Result<Result<Made>> {
    let merge = Merge { spec: task.spec.clone(), files: task.files.clone(), memory: order.memory };
    let place = Place { hour: task.hour, generation: task.generation() };
    let (store, keys) = (lake.stores.of(task.spec.table.zone).clone(), lake.keys.clone());
    let (largest, epoch) = (task.largest(), epoch.to_owned());
    let (stores, env) = (lake.stores.clone(), lake.env.clone());
    let source = Source { stores, env, runtime: Handle::current(), rate: order.rate };
    let (send, made) = tokio::sync::oneshot::channel();
    let work = move || {
        low_priority();
        let table = merge.spec.table.clone();
        let made = HourWriter::new(&store, &keys, &table, place, &epoch, largest).and_then(|mut writer| {
            match merge.merge(&source, &mut writer) {
                Ok(compacted) => writer.finish().map(|files| (files, compacted)),
                Err(e) => {
                    for file in writer.abandon() {
                        // What is left is clean-up's.
                        let _ = source.runtime.block_on(file.discard());
                    }
                    Err(e)
                }
            }
        });
        // Who asked may have given up.
        let _ = send.send(made);
    };
    let thread = std::thread::Builder::new().name("history".into()).spawn(work);
    thread.map_err(|e| Error::stop(format!("cannot start a thread: {e}")))?;
    made.await.map_err(|_| Error::stop("the thread that merges files panicked; this is a bug"))
}

/// The stream goes first: on Linux a thread has a priority of its own.
fn low_priority() {
    #[cfg(target_os = "linux")]
    if let Err(e) = rustix::process::nice(10) {
        tracing::debug!("the thread that merges files runs like any other: {e}");
    }
}

//! One hour without the rows that go: its files are merged into its next generation, and one record makes that true.
//!
//! Hosts may add to the hour meanwhile. What came is read the same way and follows in files of its own, until the hour
//! stands still for as long as a record takes. An hour that others have rewritten is begun anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{FieldRef, Schema};
use tokio::runtime::Handle;

use super::rows::{Matcher, Seen};
use super::scan::{Scan, scan};
use super::subject::Subject;
use crate::catalog::TableSpec;
use crate::commit::record::{DataFile, Flip};
use crate::commit::{Deed, Flipped, Record, Rewritten};
use crate::failpoint::failpoint;
use crate::generations::Place;
use crate::history::ended;
use crate::history::plan::Task;
use crate::history::read::Source;
use crate::history::sorted::Sorted;
use crate::pipeline::offline::Lake;
use crate::sink::{HourWriter, PendingFile, Prints};
use crate::table::{Hour, Table};
use crate::{Error, Kind, Result};

/// Files that one record takes away at most.
const MOST: usize = 20_000;
/// How often an hour is begun anew that others have rewritten.
const ANEW: u32 = 5;
/// How long a file that is not there is waited for, each time.
const PAUSE: Duration = Duration::from_millis(200);
/// How often files are carried that came while others were read.
const CARRIED: u32 = 100;

/// Whose rows go out of a table, and how.
pub(super) struct Work<'a> {
    pub(super) subject: Subject,
    pub(super) spec: &'a TableSpec,
    pub(super) matcher: Arc<Matcher>,
    /// Bytes of rows that may be held.
    pub(super) memory: usize,
    /// Nothing is written.
    pub(super) dry: bool,
    /// Why the table's hours cannot be rewritten.
    pub(super) refused: Option<String>,
}

/// What became of an hour.
#[derive(Default)]
pub(super) struct Outcome {
    /// What was found in it.
    pub(super) found: Scan,
    /// Its files, and their bytes.
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The record that takes the rows out.
    pub(super) done: Option<Arc<Record>>,
    /// Why they stay.
    pub(super) left: Option<String>,
}

/// What was read and written.
struct Made {
    files: Vec<DataFile>,
    gone: u64,
    kept: Prints,
}

/// What became of an attempt: none if others have rewritten the hour, or why it is left alone.
type Tried = std::result::Result<Option<Arc<Record>>, String>;

impl Work<'_> {
    /// Looks into an hour, whose files may be known. Those that are gone are looked for in the log anew.
    pub(super) async fn look(
        &self,
        lake: &mut Lake,
        hour: Hour,
        files: Option<Vec<DataFile>>,
    ) -> Result<(Vec<DataFile>, Scan)> {
        let (table, mut known) = (&self.spec.table, files);
        for _ in 0..ANEW {
            let files = match known.take() {
                Some(files) => files,
                None => lake.log.live_in(&table.name, hour).await?.into_values().collect(),
            };
            if let Some(found) = scan(lake, table, &files, &self.matcher).await? {
                return Ok((files, found));
            }
            // It was taken away, or its host is about to publish it.
            lake.env.sleep(PAUSE).await;
            lake.log.refresh().await?;
            if !self.dry {
                lake.log.roll_forward(None).await.map_err(ended)?;
            }
        }
        Err(Error::stop(format!(
            "{}, {hour}: a file that the log names is not there (tidemill verify)",
            table.name
        )))
    }

    /// Takes the rows out of an hour, whose files may be known. `told` is the last maintenance record whose hours the
    /// catalog has.
    pub(super) async fn hour(
        &self,
        lake: &mut Lake,
        hour: Hour,
        files: Option<Vec<DataFile>>,
        told: Option<u64>,
    ) -> Result<Outcome> {
        let (mut known, mut tries) = (files, 0);
        loop {
            let (files, found) = match self.look(lake, hour, known.take()).await {
                Ok(looked) => looked,
                // The other hours are none the worse.
                Err(e) if e.kind() == Kind::Stop => {
                    return Ok(Outcome { left: Some(e.to_string()), ..Outcome::default() });
                }
                Err(e) => return Err(e),
            };
            let bytes = files.iter().map(|file| file.file.bytes).sum();
            let mut outcome = Outcome { found, files: files.len() as u64, bytes, done: None, left: None };
            if outcome.found.seen.rows == 0 {
                return Ok(outcome);
            }
            outcome.left = match &self.refused {
                Some(why) => Some(why.clone()),
                None if files.len() > MOST => {
                    Some(format!("it has {} files, and a record takes away {MOST} at most", files.len()))
                }
                None if tries >= ANEW => Some("others keep rewriting it; try again".into()),
                None => None,
            };
            if outcome.left.is_some() || self.dry {
                return Ok(outcome);
            }
            let table = widened(&self.spec.table, &outcome.found.old);
            let task = Task { spec: TableSpec { table, ..self.spec.clone() }, hour, files };
            match self.flip(lake, &task, told).await? {
                Ok(None) => tries += 1,
                Ok(done) => return Ok(Outcome { done, ..outcome }),
                Err(why) => return Ok(Outcome { left: Some(why), ..outcome }),
            }
        }
    }

    /// Writes the hour anew and makes that true.
    async fn flip(&self, lake: &mut Lake, task: &Task, told: Option<u64>) -> Result<Tried> {
        let place = Place { hour: task.hour, generation: task.generation() };
        let made = match self.written(lake, task, place, &task.files).await? {
            Ok(made) => made,
            Err(e) => {
                // Somebody may have taken the files away while they were read.
                lake.log.refresh().await?;
                let live = lake.log.live_in(&task.spec.table.name, task.hour).await?;
                return match task.files.iter().any(|file| !live.contains_key(&file.file.key)) {
                    true => Ok(Ok(None)),
                    false if e.kind() == Kind::Retry => Err(Error::stop(e.to_string())),
                    false => Ok(Err(e.to_string())),
                };
            }
        };
        failpoint!("erase-merged");
        let print = Prints::columns(&task.spec.table.schema).is_some();
        let (mut gone, mut kept) = (made.gone, made.kept);
        let deed = |gone: u64, kept: Prints| Deed::Erased(self.subject.erased(gone, kept, print));
        let (table, hour, generation) = (task.spec.table.name.clone(), task.hour.0, place.generation);
        let mut rewritten = Rewritten {
            flips: vec![Flip { table, hour, generation }],
            supersedes: task.files.clone(),
            files: made.files,
            deed: deed(gone, kept),
        };
        for round in 0.. {
            match lake.log.rewrite(&rewritten, told).await.map_err(ended)? {
                Flipped::True(record) => return Ok(Ok(Some(record))),
                Flipped::Fenced => break,
                Flipped::Changed if round < CARRIED => {}
                Flipped::Changed => {
                    lake.log.throw_away(&rewritten.files).await?;
                    return Ok(Err("hosts keep adding to it; try again, or when it is over".into()));
                }
            }
            // What came must be visible before it can be read.
            lake.log.roll_forward(None).await.map_err(ended)?;
            let Some(late) = lake.log.carry(&mut rewritten).await? else { break };
            let more = match self.written(lake, task, place, &late).await? {
                Ok(more) => more,
                Err(e) => {
                    lake.log.throw_away(&rewritten.files).await?;
                    return Ok(Err(e.to_string()));
                }
            };
            failpoint!("erase-carried");
            gone += more.gone;
            kept.join(more.kept);
            rewritten.files.extend(more.files);
            rewritten.deed = deed(gone, kept);
        }
        lake.log.throw_away(&rewritten.files).await?;
        Ok(Ok(None))
    }

    /// Reads files and writes the rows that stay, on a thread of its own: it blocks. The inner error is the work's.
    async fn written(
        &self,
        lake: &Lake,
        task: &Task,
        place: Place,
        files: &[DataFile],
    ) -> Result<Result<Made>> {
        let (table, files) = (task.spec.table.clone(), files.to_vec());
        let (store, keys, epoch) =
            (lake.stores.of(table.zone).clone(), lake.keys.clone(), lake.env.fresh_id());
        let (largest, memory, matcher) = (task.largest(), self.memory, self.matcher.clone());
        let (stores, env) = (lake.stores.clone(), lake.env.clone());
        let source = Source { stores, env, runtime: Handle::current(), rate: None };
        let (send, made) = tokio::sync::oneshot::channel();
        let id = epoch.clone();
        let work = move || {
            let made = HourWriter::new(&store, &keys, &table, place, &id, largest).and_then(|mut writer| {
                match left(&table, &files, &matcher, memory, &source, &mut writer) {
                    Ok((gone, kept)) => writer.finish().map(|files| (files, gone, kept)),
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
        let thread = std::thread::Builder::new().name("erase".into()).spawn(work);
        thread.map_err(|e| Error::stop(format!("cannot start a thread: {e}")))?;
        let made = made
            .await
            .map_err(|_| Error::stop("the thread that rewrites an hour panicked; this is a bug"))?;
        let (pending, gone, kept): (Vec<PendingFile>, u64, Prints) = match made {
            Ok(made) => made,
            Err(e) => return Ok(Err(e)),
        };
        let mut files = Vec::with_capacity(pending.len());
        for file in pending {
            files.push(DataFile::new(&epoch, file.staged().await.map_err(ended)?));
        }
        Ok(Ok(Made { files, gone, kept }))
    }
}

/// Writes the rows that stay: how many went, and which stayed.
fn left(
    table: &Table,
    files: &[DataFile],
    matcher: &Matcher,
    memory: usize,
    source: &Source,
    writer: &mut HourWriter,
) -> Result<(u64, Prints)> {
    let columns = Prints::columns(&table.schema);
    let (mut seen, mut kept) = (Seen::default(), Prints::default());
    Sorted { table, files, memory }.read(source, &mut |rows| {
        let goes = matcher
            .rows(&rows, &mut seen)
            .map_err(|why| Error::stop(format!("a file of table {} cannot be read: {why}", table.name)))?;
        let rows = match goes.true_count() {
            0 => rows,
            _ => {
                let stays = not(&goes).and_then(|stays| filter_record_batch(&rows, &stays));
                stays
                    .map_err(|e| Error::stop(format!("cannot take rows out of table {}: {e}", table.name)))?
            }
        };
        kept.add(&rows, columns);
        writer.write(rows)
    })?;
    let wanted: u64 = files.iter().map(|file| file.file.rows).sum();
    match seen.rows + kept.rows == wanted {
        true => Ok((seen.rows, kept)),
        false => Err(Error::stop(format!("{} rows were read instead of {wanted}", seen.rows + kept.rows))),
    }
}

/// A table with the columns that its files have from before: none may be lost on the way.
fn widened(table: &Arc<Table>, old: &BTreeMap<String, FieldRef>) -> Arc<Table> {
    if old.is_empty() {
        return table.clone();
    }
    // A file of before has no value of it where a file of today is read.
    let old = old.values().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
    let fields: Vec<FieldRef> = table.schema.fields().iter().cloned().chain(old).collect();
    let (name, schema) = (table.name.clone(), Arc::new(Schema::new(fields)));
    Arc::new(Table { name, zone: table.zone, schema, event_time: table.event_time, sorted: table.sorted })
}

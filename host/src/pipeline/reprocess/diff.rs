//! What would change: hours as they are beside hours as they would be, row by row.
//!
//! Rows are told apart by the event that they stem from, in an additive table by their key (after summing), and in
//! others by everything that they say: such a row is there or it is not. Memory is bounded: rows are taken by the hash
//! of what tells them apart, a share at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tokio::runtime::Handle;

use super::plan::Plan;
use crate::catalog::TableSpec;
use crate::commit::record::DataFile;
use crate::history::{Additive, Source};
use crate::pipeline::offline::Lake;
use crate::sink::{Keys, Location, Prints, Stores, ZoneStore};
use crate::table::{Hour, REJECTED, Zone};
use crate::wait::blocking;
use crate::{Error, Result};

/// What rows take in memory for each byte of a file, as a guess.
const UNPACKED: u64 = 12;
/// Characters of a value that are shown.
const LONGEST: usize = 60;

/// What would change in a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The table.
    pub table: String,
    /// Rows that would stay as they are; of an additive table, its keys.
    pub same: u64,
    /// Rows that would be new.
    pub added: u64,
    /// Rows that would go.
    pub removed: u64,
    /// Rows that would say something else.
    pub changed: u64,
    /// … by column.
    pub columns: BTreeMap<String, u64>,
    /// Some of them.
    pub samples: Vec<Sample>,
}

/// A row that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its hour.
    pub hour: Hour,
    /// By column: as it is, and as it would be. Of a row that changes, only what changes and what tells it apart.
    pub columns: Vec<(String, Option<String>, Option<String>)>,
}

/// A lake for files that are only compared, on this machine.
pub(super) struct Scratch {
    pub(super) stores: Stores,
    folder: PathBuf,
}

impl Scratch {
    pub(super) fn new(lake: &Lake) -> Result<Scratch> {
        let folder = std::env::temp_dir().join(format!("tidemill-{}", lake.env.fresh_id()));
        std::fs::create_dir_all(&folder).map_err(|e| {
            Error::stop(format!("cannot make a folder for what is compared, {}: {e}", folder.display()))
        })?;
        let keys = Keys::new(lake.keys.whole())?;
        let store = |zone| {
            let location = Location::Local(folder.clone());
            ZoneStore::open(zone, location, "the temporary folder", &keys, None, &lake.env).map(Arc::new)
        };
        Ok(Scratch { stores: Stores { raw: store(Zone::Raw)?, processed: store(Zone::Processed)? }, folder })
    }

    /// Makes files readable.
    pub(super) async fn show(&self, files: &[DataFile]) -> Result<()> {
        for file in files {
            self.stores.publish(&file.file).await?;
        }
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!("{} is left behind: {e}", self.folder.display());
        }
    }
}

/// Compares all tables of a plan with the files that were made.
pub(super) async fn compare(
    lake: &Lake,
    scratch: &Scratch,
    plan: &Arc<Plan>,
    files: &[DataFile],
    rejected: &BTreeSet<Hour>,
    memory: usize,
    samples: usize,
) -> Result<Vec<Changes>> {
    let source = |stores: &Stores| Source {
        stores: stores.clone(),
        env: lake.env.clone(),
        runtime: Handle::current(),
        rate: None,
    };
    let sources = (source(&lake.stores), source(&scratch.stores));
    let mut new: BTreeMap<(String, i64), Vec<DataFile>> = BTreeMap::new();
    for file in files {
        new.entry((file.file.table.clone(), file.file.hour.0)).or_default().push(file.clone());
    }
    let own = TableSpec::new(Arc::new(crate::table::rejected()), "");
    let specs: Vec<TableSpec> = plan.tables.iter().cloned().chain([own]).collect();
    let (plan, rejected, runtime) = (plan.clone(), rejected.clone(), Handle::current());
    let work = move || {
        let _within = runtime.enter();
        let mut all = Vec::new();
        for spec in specs {
            let name = spec.table.name.clone();
            let mut changes = Changes { table: name.clone(), ..Changes::default() };
            let of = |(table, _): &&(String, i64)| *table == name;
            let hours: BTreeSet<i64> =
                plan.old.keys().chain(new.keys()).filter(of).map(|(_, hour)| *hour).collect();
            for hour in hours.into_iter().filter(|hour| name != REJECTED || rejected.contains(&Hour(*hour))) {
                let key = (name.clone(), hour);
                let none = Vec::new();
                let sides = (plan.old.get(&key).unwrap_or(&none), new.get(&key).unwrap_or(&none));
                let table = Compared { spec: &spec, hour: Hour(hour), memory, samples };
                table.hour(&sources, sides, &mut changes)?;
            }
            all.push(changes);
        }
        Ok::<_, Error>(all)
    };
    blocking("comparing rows", work).await?
}

/// Adds what a portion would change.
pub(super) fn join(all: &mut Vec<Changes>, more: Vec<Changes>, samples: usize) {
    for changes in more {
        let Some(known) = all.iter_mut().find(|known| known.table == changes.table) else {
            all.push(changes);
            continue;
        };
        known.same += changes.same;
        known.added += changes.added;
        known.removed += changes.removed;
        known.changed += changes.changed;
        for (column, rows) in changes.columns {
            *known.columns.entry(column).or_default() += rows;
        }
        known.samples.extend(changes.samples);
        known.samples.truncate(3 * samples);
    }
}

/// An hour of a table that is compared.
struct Compared<'a> {
    spec: &'a TableSpec,
    hour: Hour,
    memory: usize,
    samples: usize,
}

/// Rows of one side, by what tells them apart.
struct Side {
    rows: RecordBatch,
    by: HashMap<Box<[u8]>, Vec<u32>>,
    /// All that a row says.
    whole: Vec<Box<[u8]>>,
}

impl Compared<'_> {
    fn hour(
        &self,
        sources: &(Source, Source),
        (old, new): (&Vec<DataFile>, &Vec<DataFile>),
        changes: &mut Changes,
    ) -> Result<()> {
        let bytes: u64 = old.iter().chain(new).map(|file| file.file.bytes).sum();
        let shares = (bytes * UNPACKED).div_ceil(self.memory.max(1) as u64).max(1);
        for share in 0..shares {
            let before = self.side(&sources.0, old, (share, shares))?;
            let after = self.side(&sources.1, new, (share, shares))?;
            self.compare(&before, &after, changes)?;
        }
        Ok(())
    }

    /// The columns that tell rows apart; none: all of them do.
    fn keys(&self) -> Vec<usize> {
        let schema = &self.spec.table.schema;
        if !self.spec.merge.is_empty() {
            let key =
                |at: &usize| self.spec.merge.get(schema.field(*at).name()).is_some_and(|how| how == "key");
            return (0..schema.fields().len()).filter(key).collect();
        }
        let mut keys: Vec<usize> = Prints::columns(schema).into_iter().flatten().collect();
        if self.spec.table.name == REJECTED {
            // An event may be rejected by several.
            keys.extend(schema.index_of("transform"));
        }
        if keys.is_empty() { (0..schema.fields().len()).collect() } else { keys }
    }

    /// The rows of a side whose share it is.
    fn side(&self, source: &Source, files: &[DataFile], (share, shares): (u64, u64)) -> Result<Side> {
        let (table, keys) = (&self.spec.table, self.keys());
        let converter = converter(table, &keys)?;
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let mut sums = match self.spec.merge.is_empty() {
            true => None,
            false => Some(Additive::new(&table.schema, &self.spec.merge)?),
        };
        let mut all = Vec::new();
        source.read(table, files, |batch| {
            let found = rows(&converter, &batch, &keys)?;
            let mine = (0_u32..).zip(&found).filter(|(_, key)| hasher.hash_one(key) % shares == share);
            let at = UInt32Array::from_iter_values(mine.map(|(row, _)| row));
            let batch = if at.len() == batch.num_rows() {
                batch
            } else {
                take_record_batch(&batch, &at).map_err(failed)?
            };
            match &mut sums {
                Some(sums) => sums.add(&batch)?,
                None => all.push(batch),
            }
            Ok(())
        })?;
        if let Some(mut sums) = sums {
            all.push(sums.take()?);
        }
        let rows_of = arrow::compute::concat_batches(&table.schema, &all).map_err(failed)?;
        let mut by: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        for (row, key) in (0_u32..).zip(rows(&converter, &rows_of, &keys)?) {
            by.entry(key).or_default().push(row);
        }
        let every: Vec<usize> = (0..table.schema.fields().len()).collect();
        let whole = rows(&self::converter(table, &every)?, &rows_of, &every)?;
        Ok(Side { rows: rows_of, by, whole })
    }

    fn compare(&self, before: &Side, after: &Side, changes: &mut Changes) -> Result<()> {
        let none = Vec::new();
        let keys: BTreeSet<&Box<[u8]>> = before.by.keys().chain(after.by.keys()).collect();
        for key in keys {
            let mut old = before.by.get(key).unwrap_or(&none).clone();
            let mut new = after.by.get(key).unwrap_or(&none).clone();
            // Rows that say the same first; then the rest, in their order.
            old.retain(|row| {
                let whole = &before.whole[*row as usize];
                let twin = new.iter().position(|other| after.whole[*other as usize] == *whole);
                twin.map(|at| new.remove(at)).is_none_or(|_| {
                    changes.same += 1;
                    false
                })
            });
            for at in 0..old.len().max(new.len()) {
                let pair = (old.get(at).copied(), new.get(at).copied());
                let kind = match pair {
                    (Some(_), Some(_)) => &mut changes.changed,
                    (Some(_), None) => &mut changes.removed,
                    _ => &mut changes.added,
                };
                *kind += 1;
                let sampled = *kind <= self.samples as u64;
                self.row((before, pair.0), (after, pair.1), sampled, changes)?;
            }
        }
        Ok(())
    }

    /// Counts the columns of a row that changes, and shows it if it is a sample.
    fn row(
        &self,
        (before, old): (&Side, Option<u32>),
        (after, new): (&Side, Option<u32>),
        sampled: bool,
        changes: &mut Changes,
    ) -> Result<()> {
        let both = old.is_some() && new.is_some();
        if !both && !sampled {
            return Ok(());
        }
        let (keys, mut columns) = (self.keys(), Vec::new());
        for (at, field) in self.spec.table.schema.fields().iter().enumerate() {
            let one = |side: &Side, row: u32| side.rows.column(at).slice(row as usize, 1);
            let other = match (old, new) {
                (Some(old), Some(new)) => one(before, old).as_ref() != one(after, new).as_ref(),
                _ => false,
            };
            if other {
                *changes.columns.entry(field.name().clone()).or_default() += 1;
            }
            let told = keys.len() < self.spec.table.schema.fields().len() && keys.contains(&at);
            if sampled && (!both || other || told) {
                let shown = |side: &Side, row: Option<u32>| {
                    row.map(|row| text(side.rows.column(at), row as usize)).transpose()
                };
                columns.push((field.name().clone(), shown(before, old)?, shown(after, new)?));
            }
        }
        if sampled {
            changes.samples.push(Sample { hour: self.hour, columns });
        }
        Ok(())
    }
}

fn converter(table: &crate::table::Table, columns: &[usize]) -> Result<RowConverter> {
    let field = |at: &usize| SortField::new(table.schema.field(*at).data_type().clone());
    RowConverter::new(columns.iter().map(field).collect()).map_err(failed)
}

fn rows(converter: &RowConverter, batch: &RecordBatch, columns: &[usize]) -> Result<Vec<Box<[u8]>>> {
    let columns: Vec<ArrayRef> = columns.iter().map(|at| batch.column(*at).clone()).collect();
    let rows = converter.convert_columns(&columns).map_err(failed)?;
    Ok(rows.iter().map(|row| row.as_ref().into()).collect())
}

/// A value as people read it, not longer than they can.
fn text(column: &ArrayRef, row: usize) -> Result<String> {
    if column.is_null(row) {
        return Ok("null".into());
    }
    // Times are in UTC, which is the only zone here: its name would be looked up in a list of zones.
    let text = if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        crate::commit::record::when(times.value(row))
    } else if let Some(bytes) = column.as_binary_opt::<i32>() {
        String::from_utf8_lossy(bytes.value(row)).into_owned()
    } else {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::default());
        formatter.map_err(failed)?.value(row).to_string()
    };
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => Ok(format!("{}…", &text[..at])),
        None => Ok(text),
    }
}

fn failed(error: arrow::error::ArrowError) -> Error {
    Error::stop(format!("cannot compare rows: {error}"))
}

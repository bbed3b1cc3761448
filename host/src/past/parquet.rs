//! Parquet: events of the raw zone of a lake as they are, rows of other files as JSON objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;

use super::bytes::Place;
use super::object;
use super::values::Values;
use super::{Chunk, File, Rows, unreadable};
use crate::Result;
use crate::batch::Delivered;
use crate::sink::Parts;
use crate::table::{self, Table, conform};

/// Rows of a batch: those of many partitions stand in one file.
const ROWS: usize = 1 << 15;
/// Bytes of a batch, about. Values may have a megabyte each.
const BYTES: i64 = 16 << 20;

pub(super) struct Parquet {
    file: File,
    types: BTreeMap<String, DataType>,
    /// The raw table, if its events are in the file.
    raw: Option<Table>,
    rows: i64,
    /// Rows that were skipped before the first was read.
    skipped: i64,
    reader: Option<ParquetRecordBatchReader>,
    /// What was read and not handed over yet.
    rest: Option<RecordBatch>,
}

impl Parquet {
    pub(super) fn new(file: &File, types: &BTreeMap<String, DataType>) -> Result<Parquet> {
        let (schema, rows) = opened(file, |_, schema, rows| Ok((schema, rows)))?;
        // The topic names the table only.
        let raw = table::raw("t");
        let alike = |table: &Table| {
            table.schema.fields().iter().all(|wanted| {
                let found = schema.column_with_name(wanted.name());
                found.is_some_and(|(_, found)| same(found.data_type(), wanted.data_type()))
            })
        };
        let raw = Some(raw).filter(alike);
        let (types, file) = (types.clone(), file.clone());
        Ok(Parquet { file, types, raw, rows, skipped: 0, reader: None, rest: None })
    }

    /// Whether it is of a raw zone.
    pub(super) fn raw(&self) -> bool {
        self.raw.is_some()
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let skip = usize::try_from(self.skipped).unwrap_or(usize::MAX);
                none.insert(opened(&self.file, |builder, _, _| builder.read(skip))?)
            }
        };
        let next = reader.next().transpose();
        next.map_err(|e| unreadable(&self.file.name, e))
    }
}

/// Whether a column is of the type of the raw table: the names inside of lists are others in Parquet.
fn same(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::List(_), DataType::List(_)) => true,
        _ => found == wanted,
    }
}

/// A file whose footer was read, wherever it lies.
trait Opened {
    fn read(self: Box<Self>, skip: usize) -> Result<ParquetRecordBatchReader, String>;
}

impl<T: ChunkReader + 'static> Opened for ParquetRecordBatchReaderBuilder<T> {
    fn read(self: Box<Self>, skip: usize) -> Result<ParquetRecordBatchReader, String> {
        let groups = self.metadata().row_groups().iter();
        let widest = groups.map(|group| group.total_byte_size() / group.num_rows().max(1)).max().unwrap_or(0);
        let rows = usize::try_from(BYTES / widest.max(1)).unwrap_or(ROWS).clamp(1, ROWS);
        self.with_offset(skip).with_batch_size(rows).build().map_err(|e| e.to_string())
    }
}

fn opened<T>(
    file: &File,
    use_it: impl FnOnce(Box<dyn Opened>, arrow::datatypes::SchemaRef, i64) -> Result<T, String>,
) -> Result<T> {
    fn begin<R: ChunkReader + 'static>(
        reader: R,
    ) -> Result<(Box<dyn Opened>, arrow::datatypes::SchemaRef, i64), String> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(reader).map_err(|e| e.to_string())?;
        let (schema, rows) = (builder.schema().clone(), builder.metadata().file_metadata().num_rows());
        Ok((Box::new(builder), schema, rows))
    }
    let begun = match &file.place {
        Place::Disk(path) => begin(std::fs::File::open(path).map_err(|e| unreadable(&file.name, e))?),
        Place::Bucket { store, env, key } => begin(Parts::new(store, env, key, file.bytes)?),
    };
    let done = begun.and_then(|(opened, schema, rows)| use_it(opened, schema, rows));
    done.map_err(|why| unreadable(&file.name, why))
}

impl Rows for Parquet {
    fn skip(&mut self, rows: i64) -> Result<i64> {
        if self.reader.is_none() {
            let skipped = rows.min(self.rows - self.skipped);
            self.skipped += skipped;
            return Ok(skipped);
        }
        let mut skipped = 0;
        while skipped < rows {
            let Some(batch) = self.batch()? else { break };
            let (take, rest) = cut(batch, rows - skipped);
            skipped += length(&take);
            self.rest = rest;
        }
        Ok(skipped)
    }

    fn next(&mut self, at: i64, most: usize) -> Result<Option<Chunk>> {
        let Some(batch) = self.batch()? else { return Ok(None) };
        let (batch, rest) = cut(batch, i64::try_from(most).unwrap_or(i64::MAX));
        self.rest = rest;
        let share = self.file.bytes * batch.num_rows() as u64 / u64::try_from(self.rows.max(1)).unwrap_or(1);
        self.file.read.fetch_add(share, Ordering::Relaxed);
        let wrong = |why: String| unreadable(&self.file.name, why);
        let to = at + length(&batch);
        match &self.raw {
            Some(raw) => {
                let events = events(&conform(&batch, &raw.schema).map_err(wrong)?).map_err(wrong)?;
                Ok(Some(Chunk { from: at, to, events, wrong: vec![] }))
            }
            None => objects(&self.file.name, &batch, at, &self.types).map_err(wrong),
        }
    }
}

fn length(batch: &RecordBatch) -> i64 {
    i64::try_from(batch.num_rows()).unwrap_or(i64::MAX)
}

/// The first rows of a batch, and the rest.
fn cut(batch: RecordBatch, most: i64) -> (RecordBatch, Option<RecordBatch>) {
    match usize::try_from(most) {
        Ok(most) if most < batch.num_rows() => {
            (batch.slice(0, most), Some(batch.slice(most, batch.num_rows() - most)))
        }
        _ => (batch, None),
    }
}

fn objects(
    name: &str,
    batch: &RecordBatch,
    at: i64,
    types: &BTreeMap<String, DataType>,
) -> Result<Option<Chunk>, String> {
    let columns = object::columns(batch, |name| types.get(name).cloned())?;
    let mut values = Values::new(name);
    for row in 0..batch.num_rows() {
        object::write(values.data(), &columns, row)?;
        values.end();
    }
    Ok(values.take(at))
}

/// Events by topic and partition, each in the order in which they stand.
fn events(batch: &RecordBatch) -> Result<Vec<Delivered>, String> {
    let (topics, partitions) =
        (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int32Type>());
    for (at, field) in batch.schema().fields().iter().enumerate() {
        if !field.is_nullable() && batch.column(at).null_count() > 0 {
            return Err(format!("column {} has nulls", field.name()));
        }
    }
    let mut groups: BTreeMap<(&str, i32), Vec<u32>> = BTreeMap::new();
    for (row, at) in (0..batch.num_rows()).zip(0u32..) {
        groups.entry((topics.value(row), partitions.value(row))).or_default().push(at);
    }
    let one = groups.len() == 1;
    let mut events = Vec::with_capacity(groups.len());
    for ((topic, partition), rows) in groups {
        let rows = match one {
            true => batch.clone(),
            false => take_record_batch(batch, &UInt32Array::from(rows)).map_err(|e| e.to_string())?,
        };
        let offset = rows.column(2).as_primitive::<Int64Type>().clone();
        let (first, last) =
            offset.values().iter().fold((i64::MAX, i64::MIN), |(a, b), at| (a.min(*at), b.max(*at)));
        events.push(Delivered {
            topic: Arc::from(topic),
            partition,
            from: first,
            to: last.saturating_add(1),
            offset,
            timestamp: rows.column(3).as_primitive::<TimestampMicrosecondType>().clone(),
            key: rows.column(4).as_binary::<i32>().clone(),
            value: rows.column(5).as_binary::<i32>().clone(),
            headers: rows.column(6).as_list::<i32>().clone(),
        });
    }
    Ok(events)
}

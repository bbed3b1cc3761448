//! Rows of a file of rejected events, a batch at a time.

use arrow::array::{
    Array, AsArray, BinaryArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};

use crate::sink::Parts;
use crate::table;

/// Rows of a batch, at most.
const ROWS: usize = 8192;
/// Bytes of a batch, about. Values may have a megabyte each.
const BYTES: i64 = 16 << 20;

/// Which columns of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Who rejected which event when, and why.
    Who,
    /// The same, with key and value.
    Samples,
    /// All of them.
    All,
}

/// Which rows of a file are read; none: all.
pub(crate) type Selected = Option<Vec<usize>>;

/// The rows of a file, in order. An error says what is wrong with it.
pub(crate) fn batches(
    file: Parts,
    columns: Columns,
    selected: Selected,
) -> Result<ParquetRecordBatchReader, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
    let schema = builder.parquet_schema();
    let who = ["partition", "offset", "timestamp", "stage", "transform", "digest", "reason"];
    let mask = match columns {
        Columns::Who => ProjectionMask::columns(schema, who),
        Columns::Samples => ProjectionMask::columns(schema, who.into_iter().chain(["key", "value"])),
        Columns::All => ProjectionMask::all(),
    };
    let groups = builder.metadata().row_groups().iter();
    let widest = groups.map(|group| group.total_byte_size() / group.num_rows().max(1)).max().unwrap_or(0);
    let rows = match columns {
        Columns::Who => ROWS,
        _ => usize::try_from(BYTES / widest.max(1)).unwrap_or(ROWS).clamp(1, ROWS),
    };
    let total = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
    let mut builder = builder.with_projection(mask).with_batch_size(rows);
    if let Some(rows) = selected {
        let ranges = rows.into_iter().map(|row| row..row + 1);
        builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(ranges, total));
    }
    builder.build().map_err(|e| e.to_string())
}

/// A batch of rejected rows whose columns have their types.
pub(crate) struct Shaped {
    pub(crate) topic: Option<StringArray>,
    pub(crate) partition: Int32Array,
    pub(crate) offset: Int64Array,
    pub(crate) time: TimestampMicrosecondArray,
    pub(crate) stage: StringArray,
    pub(crate) transform: StringArray,
    pub(crate) digest: StringArray,
    pub(crate) reason: StringArray,
    pub(crate) key: Option<BinaryArray>,
    pub(crate) value: Option<BinaryArray>,
    pub(crate) headers: Option<ListArray>,
    /// All columns as the table has them, if all were read.
    pub(crate) whole: Option<RecordBatch>,
}

impl Shaped {
    pub(crate) fn rows(&self) -> usize {
        self.offset.len()
    }

    /// Who rejected a row; none: it could not be decoded.
    pub(crate) fn by(&self, row: usize) -> Option<&str> {
        self.transform.is_valid(row).then(|| self.transform.value(row))
    }
}

/// Gives the columns of a batch their types. An error says what is wrong.
pub(crate) fn shaped(batch: &RecordBatch) -> Result<Shaped, String> {
    let table = table::rejected();
    let whole = batch.column_by_name("headers").map(|_| table::conform(batch, &table.schema)).transpose()?;
    let batch = whole.as_ref().unwrap_or(batch);
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("it has no column {name}"));
    let text = |name: &str| {
        let column = column(name)?.as_string_opt::<i32>();
        column.cloned().ok_or_else(|| format!("column {name} is no text"))
    };
    let bytes = |name: &str| {
        let column = batch.column_by_name(name).map(|column| column.as_binary_opt::<i32>());
        column.map(|c| c.cloned().ok_or_else(|| format!("column {name} is no bytes"))).transpose()
    };
    let partition = column("partition")?.as_primitive_opt::<Int32Type>().cloned();
    let offset = column("offset")?.as_primitive_opt::<Int64Type>().cloned();
    let time = column("timestamp")?.as_primitive_opt::<TimestampMicrosecondType>().cloned();
    Ok(Shaped {
        topic: batch.column_by_name("topic").map(|_| text("topic")).transpose()?,
        partition: partition.ok_or("column partition is no int32")?,
        offset: offset.ok_or("column offset is no int64")?,
        time: time.ok_or("column timestamp is no time")?,
        stage: text("stage")?,
        transform: text("transform")?,
        digest: text("digest")?,
        reason: text("reason")?,
        key: bytes("key")?,
        value: bytes("value")?,
        headers: batch.column_by_name("headers").and_then(|c| c.as_list_opt::<i32>()).cloned(),
        whole,
    })
}

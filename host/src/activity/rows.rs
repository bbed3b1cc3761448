//! The rows of a file of an aggregate table.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::env::Micros;
use crate::{Error, Result};

/// Bytes of a file that is read; those of a commit have some thousand.
pub(super) const LARGEST: u64 = 64 << 20;

/// Events by type and device.
pub(super) const ACTIVITY: usize = 0;
/// Events by page.
pub(super) const PAGES: usize = 1;
/// Events by location.
pub(super) const LOCATIONS: usize = 2;
/// Distinct users and sessions.
pub(super) const USERS: usize = 3;

/// The tables with their columns of names.
pub(super) const TABLES: [(&str, [&str; 2]); 4] = [
    ("user_activity_per_minute", ["event_type", "device"]),
    ("user_pages_per_minute", ["page", ""]),
    ("user_locations_per_minute", ["location", ""]),
    ("active_users", ["period", ""]),
];
/// The columns that all have.
const WINDOW: &str = "window_start";
/// Columns of numbers; a table need not have all.
const NUMBERS: [&str; 3] = ["events", "users", "sessions"];

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// When its window begins.
    pub(super) window: Micros,
    /// What it is about.
    pub(super) names: [&'a str; 2],
    /// Events, users and sessions.
    pub(super) numbers: [u64; 3],
}

/// Reads a file.
pub(super) fn read(table: usize, key: &str, bytes: Bytes, mut row: impl FnMut(Row<'_>)) -> Result<()> {
    let bad = |why: String| Error::stop(format!("cannot read {key}: {why}"));
    if bytes.len() as u64 >= LARGEST {
        return Err(bad(format!("it has {LARGEST} bytes or more")));
    }
    let (_, names) = TABLES[table];
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| bad(e.to_string()))?;
    let wanted = [WINDOW].into_iter().chain(names).chain(NUMBERS).filter(|name| !name.is_empty());
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let batches = builder.with_projection(mask).build().map_err(|e| bad(e.to_string()))?;
    for batch in batches {
        let batch = batch.map_err(|e| bad(e.to_string()))?;
        rows(&batch, names, &mut row).map_err(bad)?;
    }
    Ok(())
}

fn rows(batch: &RecordBatch, names: [&str; 2], row: &mut impl FnMut(Row<'_>)) -> Result<(), String> {
    let column = |name: &str, as_type: &DataType| match batch.column_by_name(name) {
        Some(column) => cast(column, as_type).map(Some).map_err(|e| format!("column {name}: {e}")),
        None => Ok(None),
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let window = column(WINDOW, &time)?.ok_or_else(|| format!("it has no column {WINDOW}"))?;
    let window = window.as_primitive::<TimestampMicrosecondType>();
    let [first, second] = names.map(|name| column(name, &DataType::Utf8));
    let texts = [first?, second?];
    let [events, users, sessions] = NUMBERS.map(|name| column(name, &DataType::Int64));
    let numbers = [events?, users?, sessions?];
    for at in 0..batch.num_rows() {
        if window.is_valid(at) {
            row(Row {
                window: window.value(at),
                names: texts.each_ref().map(|column| text(column, at)),
                numbers: numbers.each_ref().map(|column| number(column, at)),
            });
        }
    }
    Ok(())
}

/// Null and a column that is not there are empty.
fn text(column: &Option<ArrayRef>, at: usize) -> &str {
    let column = column.as_ref().filter(|column| column.is_valid(at));
    column.map_or("", |column| column.as_string::<i32>().value(at))
}

/// … and nothing.
fn number(column: &Option<ArrayRef>, at: usize) -> u64 {
    let column = column.as_ref().filter(|column| column.is_valid(at));
    column.map_or(0, |column| u64::try_from(column.as_primitive::<Int64Type>().value(at)).unwrap_or_default())
}

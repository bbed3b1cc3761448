//! What the host knows of a table: its columns, its zone and how its rows are filed.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, new_empty_array, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::util::display::FormatOptions;
use chrono::{DateTime, Timelike};

use crate::env::{HOUR, Micros};

/// A part of the lake with a root of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Zone {
    /// What came from Kafka, byte for byte.
    Raw,
    /// What transforms made, and what was rejected.
    Processed,
}

/// A table of the lake. Its rows are filed by the hour of one timestamp column.
#[derive(Debug, PartialEq)]
pub struct Table {
    /// `[a-z][a-z0-9_]{0,63}`: also its folder in the zone and its name in the catalog.
    pub name: String,
    /// Where its files lie.
    pub zone: Zone,
    /// Its columns, without the partition columns `date` and `hour`.
    pub schema: SchemaRef,
    /// Index of the timestamp column (microseconds, UTC) that files a row.
    pub event_time: usize,
    /// Rows are sorted by the event time within a row group; otherwise they keep their order.
    pub sorted: bool,
}

/// The name of the table of events as they came.
pub const RAW: &str = "user_events_raw";
/// The name of the table of rejected events.
pub const REJECTED: &str = "rejected_events";
/// The columns that the host appends to rows that stem from single events.
pub const PROVENANCE: [&str; 2] = ["kafka_partition", "kafka_offset"];

/// Microseconds in UTC: the only kind of timestamp in the lake.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The fields of one Kafka header, as they stand in the list column `headers`.
pub fn header_fields() -> Fields {
    vec![Field::new("name", DataType::Utf8, false), Field::new("value", DataType::Binary, true)].into()
}

/// The type of the column `headers`.
pub fn headers_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(header_fields()), false)))
}

/// The column `headers` of so many events without any.
pub fn no_headers(rows: usize) -> ListArray {
    let DataType::List(item) = headers_type() else { unreachable!("headers are a list") };
    let none = new_empty_array(item.data_type());
    ListArray::new(item, OffsetBuffer::from_lengths(std::iter::repeat_n(0, rows)), none, None)
}

/// The value of the last header of a name of one event.
pub fn last_header(headers: &ListArray, row: usize, name: &str) -> Option<Vec<u8>> {
    let list = headers.value(row);
    let list = list.as_struct();
    let (names, values) = (list.column(0).as_string::<i32>(), list.column(1).as_binary::<i32>());
    let at = (0..list.len()).rev().find(|at| names.value(*at) == name)?;
    values.is_valid(at).then(|| values.value(at).to_vec())
}

/// The raw table: the full original, from which everything can be rebuilt.
///
/// `name` is the topic's, made an identifier.
pub fn raw(topic: &str) -> Table {
    let schema = Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp_type(), false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", headers_type(), false),
    ]);
    Table {
        name: format!("{}_raw", identifier(topic)),
        zone: Zone::Raw,
        schema: Arc::new(schema),
        event_time: 3,
        sorted: false,
    }
}

/// The rejected table: why an event went no further, and the event itself.
pub fn rejected() -> Table {
    let schema = Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", timestamp_type(), false),
        Field::new("stage", DataType::Utf8, false),
        Field::new("transform", DataType::Utf8, true),
        Field::new("digest", DataType::Utf8, true),
        Field::new("reason", DataType::Utf8, false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", headers_type(), false),
    ]);
    Table {
        name: REJECTED.into(),
        zone: Zone::Processed,
        schema: Arc::new(schema),
        event_time: 3,
        sorted: false,
    }
}

/// What cannot be cast is an error, not nothing.
const STRICT: CastOptions<'_> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// The columns of a table from those of a file: the names inside of lists are others in Parquet, and an older file
/// lacks columns that came later.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef, String> {
        match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            Some(column) => cast_with_options(column, field.data_type(), &STRICT)
                .map_err(|e| format!("column {}: {e}", field.name())),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|e| e.to_string())
}

/// A topic's name as the name of a table: lower case, `_` for what is no letter or digit.
fn identifier(topic: &str) -> String {
    let mut name: String = topic
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(59)
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert(0, 't');
    }
    name
}

/// An hour in UTC, counted from 1970-01-01T00: one partition of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hour(pub i64);

impl Hour {
    /// The hour that a time lies in.
    pub fn of(time: Micros) -> Hour {
        Hour(time.div_euclid(HOUR))
    }

    /// Whether its date is one that all readers know: of the years 0000 to 9999.
    pub fn is_on_the_calendar(self) -> bool {
        (-17_268_672..70_389_528).contains(&self.0)
    }

    /// The values of the partition columns: `("2025-12-02", "09")`.
    ///
    /// An hour beyond the calendar (years -262143 to 262142) is filed at its edge.
    pub fn values(self) -> (String, String) {
        let start = DateTime::from_timestamp(self.0.saturating_mul(3600), 0);
        let start = start.unwrap_or(if self.0 < 0 {
            DateTime::<chrono::Utc>::MIN_UTC
        } else {
            DateTime::<chrono::Utc>::MAX_UTC
        });
        (start.format("%Y-%m-%d").to_string(), format!("{:02}", start.hour()))
    }
}

impl fmt::Display for Hour {
    /// `date=2025-12-02/hour=09`, as in an object's key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, hour) = self.values();
        write!(f, "date={date}/hour={hour}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_named_in_utc() {
        assert_eq!(Hour::of(1_764_669_599_999_999).to_string(), "date=2025-12-02/hour=09");
        assert_eq!(Hour::of(1_764_669_600_000_000).to_string(), "date=2025-12-02/hour=10");
        assert_eq!(Hour::of(-1).to_string(), "date=1969-12-31/hour=23");
    }

    #[test]
    fn a_date_on_the_calendar_has_four_digits_for_its_year() {
        for (hour, name) in
            [(-17_268_672, "date=0000-01-01/hour=00"), (70_389_527, "date=9999-12-31/hour=23")]
        {
            assert!(Hour(hour).is_on_the_calendar());
            assert_eq!(Hour(hour).to_string(), name);
        }
        for beyond in [-17_268_673, 70_389_528, i64::MIN, i64::MAX] {
            assert!(!Hour(beyond).is_on_the_calendar());
        }
    }

    #[test]
    fn a_topic_names_its_raw_table() {
        assert_eq!(raw("user-events").name, RAW);
        assert_eq!(raw("2025.Orders").name, "t2025_orders_raw");
    }
}

//! Which rows of a table go, told from as few of its columns as possible.
//!
//! | table | a row goes if |
//! | --- | --- |
//! | raw | its event's value or key names the subject, and the tables were looked at for it |
//! | rejected events | its event's value or key names the subject, or its event goes |
//! | of a transform | its column names the subject, or its event goes |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::events::{Event, Events};
use super::json::Found;
use super::subject::Subject;
use crate::sink::Prints;
use crate::table::{REJECTED, Table, Zone};

/// The column with what an event said.
const VALUE: &str = "value";
/// The column with an event's key.
const KEY: &str = "key";

/// Which rows of a table go.
#[derive(Clone)]
pub(super) struct Matcher {
    subject: Subject,
    how: How,
    /// The columns of an event's partition and offset, if there are some.
    event: Option<[String; 2]>,
    /// Events whose rows go.
    events: Option<Arc<Events>>,
}

#[derive(Clone, PartialEq, Eq)]
enum How {
    /// By what the event said. `both`: only if it is among the events, too.
    Content { both: bool },
    /// By a column of the table, of this type.
    Column(String, DataType),
    /// By their events alone.
    Event,
}

/// What was seen beside the rows that go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Rows that go.
    pub(super) rows: u64,
    /// Events that are no JSON and have the text in them: they stay.
    pub(super) unreadable: u64,
    /// Rows that the column names and whose events are not among those that go.
    pub(super) alone: u64,
    /// Rows of the subject that came too late to go.
    pub(super) late: u64,
}

impl Seen {
    pub(super) fn join(&mut self, other: Seen) {
        self.rows += other.rows;
        self.unreadable += other.unreadable;
        self.alone += other.alone;
        self.late += other.late;
    }
}

impl Matcher {
    /// Looks for a subject's events in the raw table.
    pub(super) fn raw(subject: &Subject, table: &Table) -> Matcher {
        Matcher {
            subject: subject.clone(),
            how: How::Content { both: false },
            event: event(table),
            events: None,
        }
    }

    /// The rows of a table that go, with these events; no events: they cannot be told from others. None: no row of this
    /// table is of anybody. The error says why it cannot be said whose they are.
    pub(super) fn of(
        subject: &Subject,
        table: &Table,
        events: Option<&Arc<Events>>,
    ) -> Result<Option<Matcher>, String> {
        let (name, event) = (&table.name, event(table));
        let how = match (table.zone, name.as_str()) {
            (Zone::Raw, _) => How::Content { both: true },
            (Zone::Processed, REJECTED) => How::Content { both: false },
            (Zone::Processed, _) => {
                match subject.column().and_then(|column| table.schema.field_with_name(column).ok()) {
                    Some(field) if comparable(field.data_type()) => {
                        How::Column(field.name().clone(), field.data_type().clone())
                    }
                    Some(field) if event.is_none() => {
                        let (column, kind) = (field.name(), field.data_type());
                        return Err(format!(
                            "table {name}: its column `{column}` is {kind}, which is not compared with a text"
                        ));
                    }
                    None if event.is_none() => return Ok(None),
                    _ => How::Event,
                }
            }
        };
        let events = events.filter(|_| event.is_some()).cloned();
        if how == How::Event && events.is_none() {
            return Err(format!(
                "table {name}: it has no column that names one, and the lake has events of several topics, or of one that \
                 was created anew: partition and offset do not tell its rows"
            ));
        }
        Ok(Some(Matcher { subject: subject.clone(), how, event, events }))
    }

    /// The columns that it looks at, as far as a table has them.
    pub(super) fn columns(&self) -> Vec<&str> {
        let event = self.event.iter().flatten().map(String::as_str);
        let content = match &self.how {
            How::Content { .. } if self.subject.keys() => vec![VALUE, KEY],
            How::Content { .. } => vec![VALUE],
            How::Column(column, _) => vec![column.as_str()],
            How::Event => vec![],
        };
        event.chain(content).collect()
    }

    /// Whether a row group can have rows that go, by its statistics. A column that it has not names nobody.
    pub(super) fn may(&self, group: &RowGroupMetaData) -> bool {
        let leaf = |name: &str| {
            group.columns().iter().find(|column| matches!(column.column_path().parts(), [one] if one == name))
        };
        let event = match (&self.event, &self.events) {
            (Some([_, offset]), Some(events)) => {
                leaf(offset).is_some_and(|column| match column.statistics() {
                    Some(Statistics::Int64(found)) => match (found.min_opt(), found.max_opt()) {
                        (Some(first), Some(last)) => events.within(*first, *last),
                        _ => true,
                    },
                    _ => true,
                })
            }
            _ => false,
        };
        match &self.how {
            How::Content { both: true } => event,
            How::Content { both: false } => true,
            How::Column(column, kind) => {
                let value = self.subject.value();
                event || leaf(column).is_some_and(|column| within(column.statistics(), kind, value))
            }
            How::Event => event,
        }
    }

    /// Which rows go. The error says what is wrong with the rows.
    pub(super) fn rows(&self, batch: &RecordBatch, seen: &mut Seen) -> Result<BooleanArray, String> {
        let column = |name: &str| batch.column_by_name(name);
        let events = self.events(batch)?;
        let among = |row: usize| {
            let (Some(all), Some(of)) = (&self.events, &events) else { return false };
            of(row).is_some_and(|event| all.has(event))
        };
        let rows = batch.num_rows();
        let goes: Vec<bool> = match &self.how {
            How::Event => (0..rows).map(among).collect(),
            How::Column(name, _) => {
                let named = column(name).map(|column| equal(column, self.subject.value())).transpose()?;
                let mut goes = Vec::with_capacity(rows);
                for row in 0..rows {
                    let (named, among) = (named.as_ref().is_some_and(|named| named[row]), among(row));
                    seen.alone += u64::from(named && !among && events.is_some());
                    goes.push(named || among);
                }
                goes
            }
            How::Content { both } => {
                let bytes = |name: &str| {
                    let found = column(name).ok_or_else(|| format!("it has no column {name}"))?;
                    found.as_binary_opt::<i32>().ok_or_else(|| format!("its column {name} holds no bytes"))
                };
                let values = bytes(VALUE)?;
                let keys = self.subject.keys().then(|| bytes(KEY)).transpose()?;
                let mut goes = Vec::with_capacity(rows);
                for row in 0..rows {
                    let said = match values.is_valid(row) {
                        true => self.subject.member().find(values.value(row)),
                        false => Found::No,
                    };
                    let wanted = self.subject.value().as_bytes();
                    let named = said == Found::Yes
                        || keys.is_some_and(|keys| keys.is_valid(row) && keys.value(row) == wanted);
                    let among = among(row);
                    let go = if *both { named && among } else { named || among };
                    seen.unreadable += u64::from(said == Found::Unreadable && !go);
                    seen.late += u64::from(*both && named && !among);
                    goes.push(go);
                }
                goes
            }
        };
        seen.rows += goes.iter().filter(|goes| **goes).count() as u64;
        Ok(goes.into())
    }

    /// What tells the event of a row; none: the table has none, or nobody asks for it.
    fn events<'a>(
        &self,
        batch: &'a RecordBatch,
    ) -> Result<Option<impl Fn(usize) -> Option<Event> + 'a>, String> {
        let Some([partition, offset]) = self.event.as_ref().filter(|_| self.events.is_some()) else {
            return Ok(None);
        };
        let (Some(partitions), Some(offsets)) =
            (batch.column_by_name(partition), batch.column_by_name(offset))
        else {
            return Ok(None);
        };
        let partitions = partitions.as_primitive_opt::<Int32Type>();
        let offsets = offsets.as_primitive_opt::<Int64Type>();
        let (partitions, offsets) = partitions
            .zip(offsets)
            .ok_or_else(|| format!("its columns {partition} and {offset} are no int32 and int64"))?;
        Ok(Some(move |row| {
            let known = partitions.is_valid(row) && offsets.is_valid(row);
            known.then(|| (partitions.value(row), offsets.value(row)))
        }))
    }

    /// The events of the rows that go, where it is these that are looked for.
    pub(super) fn found(&self, batch: &RecordBatch, goes: &BooleanArray) -> Vec<Event> {
        if self.how != (How::Content { both: false }) || self.events.is_some() {
            return vec![];
        }
        let found = Prints::columns(&batch.schema()).and_then(|[partition, offset]| {
            let partitions = batch.column(partition).as_primitive_opt::<Int32Type>()?;
            let offsets = batch.column(offset).as_primitive_opt::<Int64Type>()?;
            let rows = (0..batch.num_rows()).filter(|row| goes.value(*row));
            Some(rows.map(|row| (partitions.value(row), offsets.value(row))).collect())
        });
        found.unwrap_or_default()
    }
}

/// The columns of the event that a row stems from.
fn event(table: &Table) -> Option<[String; 2]> {
    Prints::columns(&table.schema)
        .map(|columns| columns.map(|column| table.schema.field(column).name().clone()))
}

/// Whether values of a type can be compared with a text.
fn comparable(kind: &DataType) -> bool {
    use DataType::{Binary, Boolean, Decimal128, Float64, Int64, Utf8};
    matches!(kind, Utf8 | Binary | Boolean | Int64 | Float64 | Decimal128(..))
}

/// Which values are this text. Numbers by what they are, as 7 and 7.0 are one number in a column.
fn equal(column: &ArrayRef, text: &str) -> Result<Vec<bool>, String> {
    let rows = 0..column.len();
    Ok(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().map(|value| value == Some(text)).collect(),
        DataType::Binary => {
            column.as_binary::<i32>().iter().map(|value| value == Some(text.as_bytes())).collect()
        }
        DataType::Int64 => {
            let wanted = number(text).and_then(|text| text.parse::<i64>().ok());
            let values = column.as_primitive::<Int64Type>();
            values.iter().map(|value| value.is_some() && value == wanted).collect()
        }
        DataType::Float64 => {
            let wanted = number(text).and_then(|text| text.parse::<f64>().ok());
            let values = column.as_primitive::<Float64Type>();
            values.iter().map(|value| value.is_some() && value == wanted).collect()
        }
        DataType::Boolean => {
            let values = column.as_boolean();
            rows.map(|row| values.is_valid(row) && text == if values.value(row) { "true" } else { "false" })
                .collect()
        }
        DataType::Decimal128(..) => {
            let written = cast(column, &DataType::Utf8).map_err(|e| e.to_string())?;
            let wanted = number(text).map(plain);
            written
                .as_string::<i32>()
                .iter()
                .map(|value| value.is_some() && value.map(plain) == wanted)
                .collect()
        }
        _ => vec![false; column.len()],
    })
}

/// A text as JSON writes numbers.
fn number(text: &str) -> Option<&str> {
    serde_json::from_str::<serde_json::Number>(text).is_ok().then_some(text)
}

/// A decimal number without zeros at its end.
fn plain(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

/// Whether a column of a type with these statistics can have a value.
fn within(statistics: Option<&Statistics>, kind: &DataType, text: &str) -> bool {
    // The old kind of minimum and maximum compares bytes with signs.
    match (statistics.filter(|found| !found.is_min_max_deprecated()), kind) {
        (Some(Statistics::ByteArray(found)), DataType::Utf8) => {
            let text = text.as_bytes();
            let after = found.min_bytes_opt().is_none_or(|first| first <= text);
            after && found.max_bytes_opt().is_none_or(|last| text <= last)
        }
        (Some(Statistics::Int64(found)), DataType::Int64) => {
            let Some(wanted) = number(text).and_then(|text| text.parse::<i64>().ok()) else { return false };
            let after = found.min_opt().is_none_or(|first| *first <= wanted);
            after && found.max_opt().is_none_or(|last| wanted <= *last)
        }
        _ => true,
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;

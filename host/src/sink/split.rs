//! Rows by the hour of their event time.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;

use crate::batch::Rows;
use crate::env::Micros;
use crate::error::{Error, Result};
use crate::table::{Hour, Table};

/// The event times of a batch.
pub(super) type Times = PrimitiveArray<TimestampMicrosecondType>;

/// Rows of one hour, in the order in which they came.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) hour: Hour,
    pub(super) batch: RecordBatch,
    pub(super) first: Micros,
    pub(super) last: Micros,
}

/// The column of event times, which has no nulls.
pub(super) fn times<'a>(table: &Table, batch: &'a RecordBatch) -> Result<&'a Times> {
    let name = &table.name;
    let column = batch.columns().get(table.event_time);
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.ok_or_else(|| {
        Error::stop(format!("rows of table `{name}` have no timestamp column at place {}", table.event_time))
    })?;
    if times.null_count() > 0 {
        return Err(Error::stop(format!(
            "table `{name}` was given {} rows without an event time",
            times.null_count()
        )));
    }
    Ok(times)
}

/// Splits rows by hour, earliest hour first. Rows of a single hour, the usual case, are not touched.
pub(super) fn by_hour(rows: &Rows) -> Result<Vec<Piece>> {
    let times = times(&rows.table, &rows.batch)?.values();
    let (mut first, mut last) = (Micros::MAX, Micros::MIN);
    for &time in times.iter() {
        first = first.min(time);
        last = last.max(time);
    }
    if times.is_empty() {
        return Ok(Vec::new());
    }
    if Hour::of(first) == Hour::of(last) {
        return Ok(vec![Piece { hour: Hour::of(first), batch: rows.batch.clone(), first, last }]);
    }
    let mut hours: BTreeMap<Hour, Vec<u32>> = BTreeMap::new();
    for (row, &time) in (0u32..).zip(times.iter()) {
        hours.entry(Hour::of(time)).or_default().push(row);
    }
    let piece = |(hour, rows_of_it): (Hour, Vec<u32>)| {
        let span = rows_of_it.iter().map(|&row| times[row as usize]);
        let (first, last) = span.fold((Micros::MAX, Micros::MIN), |(a, b), time| (a.min(time), b.max(time)));
        // Copied, not sliced: a slice that waits in a buffer would keep the whole batch alive.
        let batch = take_record_batch(&rows.batch, &UInt32Array::from(rows_of_it)).map_err(|error| {
            Error::stop(format!("cannot split rows of table `{}` by hour: {error}", rows.table.name))
        })?;
        Ok(Piece { hour, batch, first, last })
    };
    hours.into_iter().map(piece).collect()
}

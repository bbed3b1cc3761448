//! Rows by the hour of their event time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::TimestampMicrosecondType;

use crate::env::Micros;
use crate::error::{Error, Result};
use crate::table::{Hour, Table};

/// The event times of a batch.
pub(super) type Times = PrimitiveArray<TimestampMicrosecondType>;

/// Rows of one hour, in the order in which they came.
#[derive(Debug)]
pub(super) struct Piece {
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

/// A batch whose rows are taken out hour by hour.
pub(super) struct Hours {
    table: Arc<Table>,
    batch: RecordBatch,
    hours: BTreeMap<Hour, Of>,
}

/// The rows of an hour.
enum Of {
    /// The whole batch, which is not touched then: the usual case.
    All,
    These(Vec<u32>),
}

impl Hours {
    pub(super) fn of(table: &Arc<Table>, batch: &RecordBatch) -> Result<Hours> {
        let times = times(table, batch)?.values();
        let mut hours = BTreeMap::new();
        let (first, last) = ends(times.iter().copied());
        if times.is_empty() {
        } else if Hour::of(first) == Hour::of(last) {
            hours.insert(Hour::of(first), Of::All);
        } else {
            let mut rows: BTreeMap<Hour, Vec<u32>> = BTreeMap::new();
            for (row, &time) in (0u32..).zip(times.iter()) {
                rows.entry(Hour::of(time)).or_default().push(row);
            }
            hours.extend(rows.into_iter().map(|(hour, rows)| (hour, Of::These(rows))));
        }
        Ok(Hours { table: Arc::clone(table), batch: batch.clone(), hours })
    }

    /// The hours that were not taken yet, earliest first.
    pub(super) fn hours(&self) -> impl Iterator<Item = Hour> {
        self.hours.keys().copied()
    }

    /// The same, but those with the most rows first.
    pub(super) fn fullest_first(&self) -> Vec<Hour> {
        let mut hours: Vec<_> =
            self.hours.iter().map(|(hour, of)| (Reverse(self.count(of)), *hour)).collect();
        hours.sort_unstable();
        hours.into_iter().map(|(_, hour)| hour).collect()
    }

    fn count(&self, of: &Of) -> usize {
        match of {
            Of::All => self.batch.num_rows(),
            Of::These(rows) => rows.len(),
        }
    }

    /// Takes the rows of an hour out. None: it has none, or they were taken before.
    pub(super) fn take(&mut self, hour: Hour) -> Result<Option<Piece>> {
        let Some(of) = self.hours.remove(&hour) else { return Ok(None) };
        let batch = self.rows(of)?;
        let (first, last) = ends(times(&self.table, &batch)?.values().iter().copied());
        Ok(Some(Piece { batch, first, last }))
    }

    /// Everything that was not taken, in the order in which it came.
    pub(super) fn rest(mut self) -> Result<RecordBatch> {
        let mut rows = Vec::new();
        for of in std::mem::take(&mut self.hours).into_values() {
            match of {
                Of::All => return Ok(self.batch),
                Of::These(these) => rows.extend(these),
            }
        }
        rows.sort_unstable();
        self.rows(Of::These(rows))
    }

    /// Copied, not sliced: a slice that waits in a buffer would keep the whole batch alive.
    fn rows(&self, of: Of) -> Result<RecordBatch> {
        let Of::These(rows) = of else { return Ok(self.batch.clone()) };
        take_record_batch(&self.batch, &UInt32Array::from(rows)).map_err(|error| {
            Error::stop(format!("cannot split rows of table `{}` by hour: {error}", self.table.name))
        })
    }
}

fn ends(times: impl Iterator<Item = Micros>) -> (Micros, Micros) {
    times.fold((Micros::MAX, Micros::MIN), |(first, last), time| (first.min(time), last.max(time)))
}

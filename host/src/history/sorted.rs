//! The rows of files in the order of their event time, those of one time in the order of their events.
//!
//! Memory is bounded whatever the files are like. They are read a slice of time after the other: of a slice all rows
//! are held, sorted and handed on. A slice that does not fit is made smaller while it is read, and what lies behind it
//! is read again with the next one; files of a stream hold seconds each, so few are read twice. A microsecond that does
//! not fit is handed on as it comes: its rows have one time.

use arrow::array::{AsArray, TimestampMicrosecondArray};
use arrow::array::{BooleanArray, Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, interleave_record_batch, take_record_batch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::read::Source;
use super::width::{BYTES, ROWS};
use crate::commit::record::DataFile;
use crate::env::Micros;
use crate::sink::Prints;
use crate::table::Table;
use crate::{Error, Result};

/// What rows take in memory for each byte of a file, as a first guess.
const UNPACKED: u64 = 6;

/// Files of one table that are to be read in order.
pub(crate) struct Sorted<'a> {
    pub(crate) table: &'a Table,
    pub(crate) files: &'a [DataFile],
    /// Bytes of rows that may be held.
    pub(crate) memory: usize,
}

fn failed(error: ArrowError) -> Error {
    Error::stop(format!("cannot put rows in order: {error}"))
}

impl Sorted<'_> {
    /// Gives all rows to `each`, some at a time. For a thread that may block.
    pub(crate) fn read(
        &self,
        source: &Source,
        each: &mut impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let spans = || self.files.iter().map(|file| (file.file.first, file.file.last));
        let (Some(first), Some(last)) = (spans().map(|s| s.0).min(), spans().map(|s| s.1).max()) else {
            return Ok(());
        };
        let bytes: u64 = self.files.iter().map(|file| file.file.bytes).sum();
        let parts = (bytes * UNPACKED).div_ceil(self.memory.max(1) as u64).max(1);
        let all = last - first + 1;
        let mut width = (all / i64::try_from(parts).unwrap_or(i64::MAX)).max(1);
        let mut from = first;
        while from <= last {
            let mut slice =
                Slice { table: self.table, from, to: from.saturating_add(width), rows: vec![], held: 0 };
            let mut files: Vec<DataFile> = self.files.to_vec();
            files.retain(|file| file.file.first < slice.to && file.file.last >= from);
            // The earliest first: what is read in vain when a slice gets smaller is the end.
            files.sort_by(|a, b| (a.file.first, &a.file.key).cmp(&(b.file.first, &b.file.key)));
            source.read(self.table, &files, |batch| {
                slice.add(&batch)?;
                while slice.held > self.memory {
                    if slice.to - slice.from > 1 {
                        slice.shrink()?;
                        continue;
                    }
                    // All of one time: their order does not matter.
                    let rows = std::mem::take(&mut slice.rows);
                    slice.held = 0;
                    rows.into_iter().try_for_each(&mut *each)?;
                }
                Ok(())
            })?;
            let (to, held) = (slice.to, slice.held);
            ordered(self.table, slice.rows, each)?;
            width = to - from;
            if held < self.memory / 3 {
                width = width.saturating_mul(2);
            }
            from = to;
        }
        Ok(())
    }
}

/// The rows of a span of time.
struct Slice<'a> {
    table: &'a Table,
    from: Micros,
    /// Where it ends, which does not belong to it.
    to: Micros,
    rows: Vec<RecordBatch>,
    held: usize,
}

impl Slice<'_> {
    fn times<'b>(&self, batch: &'b RecordBatch) -> Result<&'b TimestampMicrosecondArray> {
        let times = batch.column(self.table.event_time).as_primitive_opt::<TimestampMicrosecondType>();
        times.ok_or_else(|| Error::stop(format!("table `{}` has no event time", self.table.name)))
    }

    /// Takes the rows of its span.
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let times = self.times(batch)?.values();
        let within = |time: &Micros| (self.from..self.to).contains(time);
        let count = times.iter().filter(|time| within(time)).count();
        let rows = match count {
            0 => return Ok(()),
            all if all == times.len() => batch.clone(),
            _ => {
                let rows = times.iter().zip(0_u32..).filter(|(time, _)| within(time)).map(|(_, row)| row);
                take_record_batch(batch, &UInt32Array::from_iter_values(rows)).map_err(failed)?
            }
        };
        self.held += rows.get_array_memory_size();
        self.rows.push(rows);
        Ok(())
    }

    /// Ends in the middle of what it has, so that it can hold the rest.
    fn shrink(&mut self) -> Result<()> {
        let mut latest = self.from;
        for rows in &self.rows {
            latest = latest.max(self.times(rows)?.values().iter().copied().max().unwrap_or(self.from));
        }
        let middle = self.from + (latest.min(self.to - 1) - self.from) / 2;
        self.to = middle.max(self.from) + 1;
        let before = std::mem::take(&mut self.rows);
        self.held = 0;
        for rows in before {
            let keep: BooleanArray =
                self.times(&rows)?.values().iter().map(|time| Some(*time < self.to)).collect();
            let kept = match keep.true_count() {
                0 => continue,
                all if all == rows.num_rows() => rows,
                _ => filter_record_batch(&rows, &keep).map_err(failed)?,
            };
            self.held += kept.get_array_memory_size();
            self.rows.push(kept);
        }
        Ok(())
    }
}

/// Hands rows on in the order of their time, those of one time in the order of their events.
pub(super) fn ordered(
    table: &Table,
    rows: Vec<RecordBatch>,
    each: &mut impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let mut order: Vec<(Micros, i32, i64, usize, usize)> = Vec::new();
    for (at, batch) in rows.iter().enumerate() {
        let times = batch.column(table.event_time).as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| Error::stop(format!("table `{}` has no event time", table.name)))?;
        let events = Prints::columns(&table.schema).and_then(|[partition, offset]| {
            let partitions: &Int32Array = batch.column(partition).as_primitive_opt::<Int32Type>()?;
            let offsets: &Int64Array = batch.column(offset).as_primitive_opt::<Int64Type>()?;
            Some((partitions, offsets))
        });
        order.extend((0..batch.num_rows()).map(|row| {
            let (partition, offset) = events.map_or((0, 0), |(p, o)| (p.value(row), o.value(row)));
            (times.value(row), partition, offset, at, row)
        }));
    }
    order.sort_unstable();
    let batches: Vec<&RecordBatch> = rows.iter().collect();
    // What a row takes, on average in its batch.
    let width = |batch: &&RecordBatch| batch.get_array_memory_size() / batch.num_rows().max(1);
    let widths: Vec<usize> = batches.iter().map(width).collect();
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |(_, _, _, at, _): &&(Micros, i32, i64, usize, usize)| {
            bytes += widths[*at];
            bytes <= BYTES
        };
        let (some, later) = rest.split_at(rest.iter().take(ROWS).take_while(fits).count().max(1));
        rest = later;
        let places: Vec<(usize, usize)> = some.iter().map(|(_, _, _, at, row)| (*at, *row)).collect();
        each(interleave_record_batch(&batches, &places).map_err(failed)?)?;
    }
    Ok(())
}

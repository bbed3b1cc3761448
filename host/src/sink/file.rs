//! One Parquet file of one (table, hour) while it is being written.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::properties::WriterProperties;

use super::split::{Piece, times};
use super::stage::{PendingFile, StageWriter, Summary};
use crate::env::Micros;
use crate::error::{Error, Result};
use crate::table::Table;

/// An open file and the rows that wait for it.
pub(super) struct OpenFile {
    table: Arc<Table>,
    writer: ArrowWriter<StageWriter>,
    /// Rows of a sorted table that wait until they are a run.
    run: Vec<RecordBatch>,
    run_rows: usize,
    run_bytes: usize,
    run_limit: usize,
    summary: Summary,
    /// Its memory, as it was counted when it was last written to.
    pub(super) counted: usize,
}

impl OpenFile {
    pub(super) fn new(
        table: Arc<Table>,
        stage: StageWriter,
        properties: WriterProperties,
        run_limit: usize,
    ) -> Result<OpenFile> {
        // Arrow's own schema would repeat in every footer what Parquet's says.
        let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(stage, Arc::clone(&table.schema), options).map_err(
            |error| Error::stop(format!("cannot begin a file of table `{}`: {error}", table.name)),
        )?;
        let summary = Summary { rows: 0, first: Micros::MAX, last: Micros::MIN };
        Ok(OpenFile {
            table,
            writer,
            run: Vec::new(),
            run_rows: 0,
            run_bytes: 0,
            run_limit,
            summary,
            counted: 0,
        })
    }

    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The size so far, as far as it was written.
    pub(super) fn written(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// The memory of rows and of the row group that is being encoded.
    pub(super) fn rows_held(&self) -> usize {
        self.run_bytes + self.writer.memory_size()
    }

    /// All the memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.rows_held() + self.writer.inner().held()
    }

    pub(super) fn write(&mut self, piece: &Piece) -> Result<()> {
        let batch = &piece.batch;
        if self.table.sorted {
            let mut from = 0;
            while from < batch.num_rows() {
                let taken = (self.run_limit - self.run_rows).min(batch.num_rows() - from);
                let rows = batch.slice(from, taken);
                self.run_bytes +=
                    rows.columns().iter().map(|column| slice_memory(column.as_ref())).sum::<usize>();
                self.run_rows += taken;
                self.run.push(rows);
                from += taken;
                if self.run_rows == self.run_limit {
                    self.flush()?;
                }
            }
        } else {
            self.writer.write(batch).map_err(|error| self.broken(&error))?;
        }
        self.summary.rows += batch.num_rows() as u64;
        self.summary.first = self.summary.first.min(piece.first);
        self.summary.last = self.summary.last.max(piece.last);
        Ok(())
    }

    /// Writes everything that waits as one row group.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.run.is_empty() {
            let run = sorted(&self.table, &std::mem::take(&mut self.run))?;
            self.run_rows = 0;
            self.run_bytes = 0;
            self.writer.write(&run).map_err(|error| self.broken(&error))?;
        }
        self.writer.flush().map_err(|error| self.broken(&error))
    }

    /// The row groups that are written.
    pub(super) fn row_groups(&self) -> &[RowGroupMetaData] {
        self.writer.flushed_row_groups()
    }

    /// Ends the file, which was flushed before.
    pub(super) fn finish(mut self, footer: impl Iterator<Item = (String, String)>) -> Result<PendingFile> {
        for (key, value) in footer {
            self.writer.append_key_value_metadata(KeyValue::new(key, value));
        }
        self.writer.finish().map_err(|error| self.broken(&error))?;
        let summary = self.summary;
        self.writer.inner_mut().finish(summary)
    }

    /// Gives the file up.
    pub(super) fn cancel(mut self) {
        self.writer.inner_mut().cancel();
    }

    /// The stage's own error if it was that; Parquet's otherwise, which trying again cannot mend.
    fn broken(&mut self, error: &ParquetError) -> Error {
        let failure = self.writer.inner_mut().take_failure();
        failure.unwrap_or_else(|| {
            Error::stop(format!("cannot encode rows of table `{}`: {error}", self.table.name))
        })
    }
}

/// The memory of the rows of an array, without that of its neighbours in the same buffers.
pub(super) fn slice_memory(array: &dyn Array) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// One batch, sorted by event time; rows of the same time keep their order.
fn sorted(table: &Table, run: &[RecordBatch]) -> Result<RecordBatch> {
    let failed = |error| Error::stop(format!("cannot sort rows of table `{}`: {error}", table.name));
    let whole = concat_batches(&table.schema, run).map_err(failed)?;
    let times = times(table, &whole)?.values();
    if times.is_sorted() {
        return Ok(whole);
    }
    let mut order: Vec<(Micros, u32)> = times.iter().copied().zip(0u32..).collect();
    order.sort_by_key(|&(time, _)| time);
    let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, row)| row));
    take_record_batch(&whole, &order).map_err(failed)
}

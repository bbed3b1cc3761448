//! Rows of hours for which no file is open: kept until the epoch ends, and written hour by hour then.
//!
//! Event times may be spread over thousands of hours, by a replay or by clocks that lie. An encoder for each would take
//! far more memory than the rows, and ending one for every other hour that comes makes a file of a few rows each time.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::file::slice_memory;
use super::split::Hours;
use crate::error::{Error, Result};
use crate::table::{Hour, Table};

/// Rows of one table that wait.
pub(super) struct Gathered {
    table: Arc<Table>,
    batches: Vec<RecordBatch>,
    hours: BTreeSet<Hour>,
    bytes: usize,
}

impl Gathered {
    pub(super) fn new(table: &Arc<Table>) -> Gathered {
        Gathered { table: Arc::clone(table), batches: Vec::new(), hours: BTreeSet::new(), bytes: 0 }
    }

    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Takes in what was not taken out of these hours; how many bytes that is.
    pub(super) fn add(&mut self, hours: Hours) -> Result<usize> {
        self.hours.extend(hours.hours());
        let batch = hours.rest()?;
        let bytes = batch.columns().iter().map(|column| slice_memory(column.as_ref())).sum();
        self.bytes += bytes;
        self.batches.push(batch);
        Ok(bytes)
    }

    /// The memory of the rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Into how many files they will go.
    pub(super) fn files(&self) -> usize {
        self.hours.len()
    }

    /// All of it, to be taken out hour by hour.
    pub(super) fn hours(self) -> Result<Hours> {
        let whole = concat_batches(&self.table.schema, &self.batches).map_err(|error| {
            Error::stop(format!("cannot join rows of table `{}`: {error}", self.table.name))
        })?;
        drop(self.batches);
        Hours::of(&self.table, &whole)
    }
}

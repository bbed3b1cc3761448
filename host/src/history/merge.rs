//! One hour, merged: its files are read, and their rows written anew in the order of event time.
//!
//! Memory is bounded whatever the files are like (see [`Sorted`]). Rows of an additive table are put together by key
//! instead, and written when all are there. What does not fit is written before: then a key has more rows than one,
//! which is as right.

use super::additive::Additive;
use super::read::Source;
use super::sorted::{Sorted, ordered};
use crate::catalog::TableSpec;
use crate::commit::record::{Compacted, DataFile};
use crate::sink::{HourWriter, Prints};
use crate::{Error, Result};

/// An hour that is to be merged.
pub(super) struct Merge {
    pub(super) spec: TableSpec,
    pub(super) files: Vec<DataFile>,
    /// Bytes of rows that may be held.
    pub(super) memory: usize,
}

impl Merge {
    /// Reads the files and writes their rows. For a thread that may block.
    pub(super) fn merge(&self, source: &Source, to: &mut HourWriter) -> Result<Compacted> {
        let table = &self.spec.table;
        let columns = Prints::columns(&table.schema).filter(|_| self.spec.merge.is_empty());
        let mut prints = Prints::default();
        if self.spec.merge.is_empty() {
            let sorted = Sorted { table, files: &self.files, memory: self.memory };
            sorted.read(source, &mut |rows| {
                prints.add(&rows, columns);
                to.write(rows)
            })?;
        } else {
            let mut sums = Additive::new(&table.schema, &self.spec.merge)?;
            let mut write = |rows| ordered(table, vec![rows], &mut |rows| to.write(rows));
            source.read(table, &self.files, |batch| {
                prints.rows += batch.num_rows() as u64;
                sums.add(&batch)?;
                if sums.held() > self.memory { write(sums.take()?) } else { Ok(()) }
            })?;
            write(sums.take()?)?;
        }
        let wanted: u64 = self.files.iter().map(|file| file.file.rows).sum();
        if prints.rows != wanted {
            return Err(Error::stop(format!("{} rows were read instead of {wanted}", prints.rows)));
        }
        let print = columns.map(|_| prints.text());
        Ok(Compacted { rows: prints.rows, print, merged: !self.spec.merge.is_empty() })
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;

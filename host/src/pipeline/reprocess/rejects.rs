//! Rejected events of an hour: those of the transforms that work are made anew with the hour, the others stay.

use std::collections::HashSet;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;

use super::pass::{Event, Pass, bounded};
use crate::rejects::{Columns, Shaped, batches, shaped};
use crate::sink::Parts;
use crate::table::Hour;
use crate::{Error, Result};

impl Pass {
    /// Before the events of an hour are read.
    pub(super) fn before(&mut self, hour: Hour) -> Result<()> {
        (self.moved, self.undecodable) = (HashSet::new(), HashSet::new());
        if self.plan.whole {
            return Ok(());
        }
        // No transform has had them. One alone must not: sent back, they go to all.
        let mut found = HashSet::new();
        self.each(hour, Columns::Who, |_, rows| {
            let undecoded = (0..rows.rows()).filter(|row| rows.by(*row).is_none());
            found.extend(undecoded.map(|row| event(rows, row)));
            bounded(&found)
        })?;
        self.undecodable = found;
        Ok(())
    }

    /// After the events of an hour were read, and `fresh` of them rejected: what stays of those that had been.
    pub(super) fn after(&mut self, hour: Hour, fresh: u64) -> Result<()> {
        let within = self.plan.within(hour);
        let (mut gone, mut all) = (0_u64, 0_u64);
        self.each(hour, Columns::Who, |pass, rows| {
            let rest = (0..rows.rows()).filter(|row| pass.goes(within, rows, *row)).count();
            gone += rest as u64;
            all += rows.rows() as u64;
            Ok(())
        })?;
        if gone == 0 && fresh == 0 {
            return Ok(());
        }
        self.made.rejected.insert(hour);
        if gone == all {
            return Ok(());
        }
        self.each(hour, Columns::All, |pass, rows| {
            let keep: BooleanArray =
                (0..rows.rows()).map(|row| Some(!pass.goes(within, rows, row))).collect();
            let whole = rows.whole.as_ref().ok_or_else(|| Error::stop("rejected rows lack columns"))?;
            let kept =
                filter_record_batch(whole, &keep).map_err(|e| Error::stop(format!("rejected rows: {e}")))?;
            pass.keep(kept)
        })
    }

    /// Whether a row is there no more.
    fn goes(&self, within: bool, rows: &Shaped, row: usize) -> bool {
        let mine = match rows.by(row) {
            Some(by) => self.plan.names.iter().any(|name| name == by),
            None => self.plan.whole,
        };
        // Outside of the hours: only what has rows in them now.
        mine && (within || self.moved.contains(&event(rows, row)))
    }

    /// Gives the rejected rows of an hour to `each`, a batch at a time.
    fn each(
        &mut self,
        hour: Hour,
        columns: Columns,
        mut each: impl FnMut(&mut Pass, &Shaped) -> Result<()>,
    ) -> Result<()> {
        let plan = self.plan.clone();
        for file in plan.rejected(hour) {
            let (key, store) = (&file.file.key, self.source.stores.of(file.file.zone).clone());
            let unreadable = |why: String| Error::stop(format!("{key} cannot be read: {why}"));
            let parts = Parts::new(&store, &self.source.env, key, file.file.bytes)?;
            for batch in batches(parts, columns, None).map_err(unreadable)? {
                let rows = shaped(&batch.map_err(|e| unreadable(e.to_string()))?).map_err(unreadable)?;
                each(self, &rows)?;
            }
        }
        Ok(())
    }
}

fn event(rows: &Shaped, row: usize) -> Event {
    (rows.partition.value(row), rows.offset.value(row))
}

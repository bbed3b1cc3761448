//! Rows of the host's own tables: events as they came, and events that were rejected.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute;

use crate::batch::{Delivered, Reject, Rows};
use crate::table::Table;
use crate::{Error, Result};

/// All events of a batch as rows of the raw table. Nothing is copied but the constants.
pub fn raw(table: &Arc<Table>, delivered: &Delivered) -> Result<Rows> {
    let rows = delivered.len();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![&*delivered.topic; rows])),
        Arc::new(Int32Array::from(vec![delivered.partition; rows])),
        Arc::new(delivered.offset.clone()),
        Arc::new(delivered.timestamp.clone()),
        Arc::new(delivered.key.clone()),
        Arc::new(delivered.value.clone()),
        Arc::new(delivered.headers.clone()),
    ];
    rows_of(table, columns)
}

/// Rejected events with their reasons. None if there are none.
pub(super) fn rejected(
    table: &Arc<Table>,
    delivered: &Delivered,
    rejects: &[Reject],
) -> Result<Option<Rows>> {
    if rejects.is_empty() {
        return Ok(None);
    }
    let at = UInt32Array::from_iter_values(rejects.iter().map(|r| r.row));
    let take = |values: &dyn arrow::array::Array| {
        compute::take(values, &at, None).map_err(|e| Error::abandon(format!("rejected rows: {e}")))
    };
    let transform = |r: &Reject| r.transform.as_ref().map(|t| t.name.clone());
    let digest = |r: &Reject| r.transform.as_ref().map(|t| t.digest.clone());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![&*delivered.topic; rejects.len()])),
        Arc::new(Int32Array::from(vec![delivered.partition; rejects.len()])),
        take(&delivered.offset)?,
        take(&delivered.timestamp)?,
        Arc::new(rejects.iter().map(|r| Some(r.stage.name())).collect::<StringArray>()),
        Arc::new(rejects.iter().map(transform).collect::<StringArray>()),
        Arc::new(rejects.iter().map(digest).collect::<StringArray>()),
        Arc::new(rejects.iter().map(|r| Some(&*r.reason)).collect::<StringArray>()),
        take(&delivered.key)?,
        take(&delivered.value)?,
        take(&delivered.headers)?,
    ];
    rows_of(table, columns).map(Some)
}

fn rows_of(table: &Arc<Table>, columns: Vec<ArrayRef>) -> Result<Rows> {
    let batch = RecordBatch::try_new(table.schema.clone(), columns)
        .map_err(|e| Error::stop(format!("rows of table {}: {e}; this is a bug", table.name)))?;
    Ok(Rows { table: table.clone(), batch })
}

//! What a transform is given: columns of the topic's events, or of another transform's output.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow::compute;
use arrow::datatypes::DataType;

use super::columns::Column;
use super::dictionary::Dictionary;
use super::graph::Source;
use super::spec::Metadata;
use crate::batch::{Batch, Delivered};

/// Rows on their way from one transform to the next.
pub(super) struct Edge {
    pub(super) rows: RecordBatch,
    /// The event that each row stems from; none: rows from a flush.
    pub(super) origin: Option<Vec<u32>>,
    /// Columns that the transform returned as dictionaries, by their places; not all may be here.
    pub(super) dictionaries: Vec<Option<Arc<Dictionary>>>,
}

/// What a transform is given.
pub(super) enum Given<'a> {
    Topic(&'a Batch),
    Edge(&'a Edge),
}

impl Given<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Given::Topic(batch) => batch.rows.len(),
            Given::Edge(edge) => edge.rows.num_rows(),
        }
    }

    pub(super) fn origin(&self) -> Option<&[u32]> {
        match self {
            Given::Topic(batch) => Some(&batch.rows),
            Given::Edge(edge) => edge.origin.as_deref(),
        }
    }

    pub(super) fn column(&self, source: &Source) -> Column {
        match (self, source) {
            (Given::Topic(batch), Source::Field(at)) => batch.columns[*at].clone().into(),
            (Given::Topic(batch), Source::Metadata(m)) => {
                of_rows(metadata(&batch.delivered, *m), &batch.rows).into()
            }
            (Given::Topic(batch), Source::Header(name, data_type)) => {
                of_rows(header(&batch.delivered, name, data_type), &batch.rows).into()
            }
            (Given::Edge(edge), Source::Column(at)) => Column {
                array: edge.rows.column(*at).clone(),
                dictionary: edge.dictionaries.get(*at).cloned().flatten(),
            },
            // The plan gives topics fields and outputs columns, never the other way round.
            (_, source) => unreachable!("{source:?} of the wrong kind of input"),
        }
    }
}

/// The values of the events that became rows.
fn of_rows(all: ArrayRef, rows: &[u32]) -> ArrayRef {
    if rows.len() == all.len() {
        return all;
    }
    // Each row at most once: no more than there is.
    compute::take(&all, &UInt32Array::from(rows.to_vec()), None).expect("rows are indices of the batch")
}

/// Values by index. A row may be picked many times, so what that makes is bounded.
pub(super) fn pick(values: &ArrayRef, rows: &[u32]) -> Result<ArrayRef, String> {
    let bytes: usize = match values.data_type() {
        DataType::Utf8 => lengths(values.as_string::<i32>().offsets(), rows),
        DataType::Binary => lengths(values.as_binary::<i32>().offsets(), rows),
        _ => 0,
    };
    let most = PICKED + 4 * values.get_array_memory_size();
    if bytes > most {
        return Err(format!("its repeated rows copy {bytes} bytes of one column; {most} are the most"));
    }
    compute::take(values, &UInt32Array::from(rows.to_vec()), None).map_err(|e| e.to_string())
}

/// Bytes that one copied column may take, on top of four times what the column has.
const PICKED: usize = 4 << 20;

fn lengths(offsets: &[i32], rows: &[u32]) -> usize {
    let length = |row: usize| usize::try_from(offsets[row + 1] - offsets[row]).unwrap_or_default();
    rows.iter().map(|row| length(*row as usize)).sum()
}

fn metadata(delivered: &Delivered, metadata: Metadata) -> ArrayRef {
    let rows = delivered.len();
    match metadata {
        Metadata::Topic => Arc::new(StringArray::from(vec![&*delivered.topic; rows])),
        Metadata::Partition => Arc::new(Int64Array::from(vec![i64::from(delivered.partition); rows])),
        Metadata::Offset => Arc::new(delivered.offset.clone()),
        Metadata::Timestamp => Arc::new(delivered.timestamp.clone()),
        Metadata::Key => Arc::new(delivered.key.clone()),
        Metadata::Value => Arc::new(delivered.value.clone()),
    }
}

/// The last header of a name. As utf8, bytes that are not UTF-8 are null.
fn header(delivered: &Delivered, name: &str, data_type: &DataType) -> ArrayRef {
    let values = (0..delivered.len()).map(|row| crate::table::last_header(&delivered.headers, row, name));
    if *data_type == DataType::Binary {
        return Arc::new(values.collect::<BinaryArray>());
    }
    Arc::new(values.map(|v| v.and_then(|v| String::from_utf8(v).ok())).collect::<StringArray>())
}

//! What an audit reads of a Parquet file: the number of its rows, and which events they stem from.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::table::PROVENANCE;

/// A table that holds rows of single events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Raw,
    Rejected,
    /// A transform's: it may have the columns of provenance.
    Made,
}

/// Who refused an event: a transform by name and digest; none: it could not be decoded.
pub(super) type Refuser = Option<Arc<(String, String)>>;

/// What a file says.
pub(super) struct Content {
    pub(super) rows: u64,
    /// Partition and offset of each row; none: its rows stem from no single events.
    pub(super) at: Option<Vec<(i32, i64)>>,
    /// For each row of a table of rejected events, who refused it.
    pub(super) by: Vec<Refuser>,
}

/// Reads a file. An error says what is wrong with it.
pub(super) fn read(bytes: Vec<u8>, shape: Shape) -> Result<Content, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).map_err(|e| e.to_string())?;
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
    let [partition, offset] = match shape {
        Shape::Raw | Shape::Rejected => ["partition", "offset"],
        Shape::Made => PROVENANCE,
    };
    let mut content = Content { rows, at: None, by: vec![] };
    if shape == Shape::Made && builder.schema().column_with_name(offset).is_none() {
        return Ok(content);
    }
    let mut columns = vec![partition, offset];
    if shape == Shape::Rejected {
        columns.extend(["stage", "transform", "digest"]);
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).build().map_err(|e| e.to_string())?;
    let mut at = Vec::new();
    let mut known = BTreeMap::new();
    for batch in reader {
        let batch = batch.map_err(|e| e.to_string())?;
        let partitions = column(&batch, partition)?.as_primitive_opt::<Int32Type>();
        let offsets = column(&batch, offset)?.as_primitive_opt::<Int64Type>();
        let partitions = partitions.ok_or_else(|| format!("column {partition} is no int32"))?;
        let offsets = offsets.ok_or_else(|| format!("column {offset} is no int64"))?;
        at.extend(partitions.values().iter().copied().zip(offsets.values().iter().copied()));
        if shape == Shape::Rejected {
            refusers(&batch, &mut known, &mut content.by)?;
        }
    }
    content.at = Some(at);
    Ok(content)
}

fn refusers(
    batch: &RecordBatch,
    known: &mut BTreeMap<(String, String), Arc<(String, String)>>,
    by: &mut Vec<Refuser>,
) -> Result<(), String> {
    let text = |name| {
        let column = column(batch, name)?.as_string_opt::<i32>();
        column.ok_or_else(|| format!("column {name} is no text"))
    };
    let (stages, transforms, digests) = (text("stage")?, text("transform")?, text("digest")?);
    for row in 0..batch.num_rows() {
        by.push(match stages.value(row) {
            "decode" => None,
            "transform" => {
                let who = (transforms.value(row).to_owned(), digests.value(row).to_owned());
                Some(known.entry(who.clone()).or_insert_with(|| Arc::new(who)).clone())
            }
            other => return Err(format!("a row was rejected at stage {other}, which there is not")),
        });
    }
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array, String> {
    batch.column_by_name(name).map(AsRef::as_ref).ok_or_else(|| format!("it has no column {name}"))
}

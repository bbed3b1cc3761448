//! A number for a set of events, whatever their order: what was merged must have the number of what it was made of.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema};

use crate::table::PROVENANCE;

/// The columns that say which event a row stems from, in tables of the host.
const OWN: [&str; 2] = ["partition", "offset"];

/// The sum of hashes of the events that rows stem from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prints {
    /// Rows that were added.
    pub rows: u64,
    sum: u64,
}

impl Prints {
    /// The columns of partition and offset of a table; none: its rows stem from no single events.
    pub fn columns(schema: &Schema) -> Option<[usize; 2]> {
        [PROVENANCE, OWN].into_iter().find_map(|[partition, offset]| {
            let (partition, of) = schema.column_with_name(partition)?;
            let (offset, at) = schema.column_with_name(offset)?;
            (*of.data_type() == DataType::Int32 && *at.data_type() == DataType::Int64)
                .then_some([partition, offset])
        })
    }

    /// Adds rows, whose columns were found there.
    pub fn add(&mut self, rows: &RecordBatch, columns: Option<[usize; 2]>) {
        self.rows += rows.num_rows() as u64;
        let Some([partition, offset]) = columns else { return };
        let partitions = rows.column(partition).as_primitive_opt::<Int32Type>();
        let offsets = rows.column(offset).as_primitive_opt::<Int64Type>();
        let (Some(partitions), Some(offsets)) = (partitions, offsets) else { return };
        for row in 0..rows.num_rows() {
            let known = partitions.is_valid(row) && offsets.is_valid(row);
            let event = if known { (partitions.value(row), offsets.value(row)) } else { (-1, -1) };
            self.sum = self.sum.wrapping_add(hash(event));
        }
    }

    /// Adds what was added there.
    pub fn join(&mut self, other: Prints) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// As it stands in a record.
    pub fn text(self) -> String {
        format!("{:016x}", self.sum)
    }
}

/// splitmix64: it stands in records, so it stays as it is.
fn hash((partition, offset): (i32, i64)) -> u64 {
    let mut z =
        u64::from_le_bytes(offset.to_le_bytes()) ^ u64::from(partition.unsigned_abs()).rotate_left(40);
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, Int64Array};
    use arrow::datatypes::Field;

    use super::*;

    fn rows(events: &[(i32, i64)]) -> RecordBatch {
        let fields = [
            Field::new("kafka_partition", DataType::Int32, true),
            Field::new("kafka_offset", DataType::Int64, true),
        ];
        let partitions = Int32Array::from_iter_values(events.iter().map(|(partition, _)| *partition));
        let offsets = Int64Array::from_iter_values(events.iter().map(|(_, offset)| *offset));
        RecordBatch::try_new(
            Arc::new(Schema::new(fields.to_vec())),
            vec![Arc::new(partitions), Arc::new(offsets)],
        )
        .unwrap()
    }

    fn print(batches: &[RecordBatch]) -> Prints {
        let mut print = Prints::default();
        batches.iter().for_each(|batch| print.add(batch, Prints::columns(&batch.schema())));
        print
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let whole = print(&[rows(&[(0, 1), (1, 1), (0, 2)])]);
        assert_eq!(whole, print(&[rows(&[(0, 2)]), rows(&[(0, 1), (1, 1)])]));
        for other in [&[(0, 1), (1, 1)][..], &[(0, 1), (1, 1), (0, 2), (0, 2)], &[(0, 1), (1, 2), (0, 1)]] {
            assert_ne!(whole.text(), print(&[rows(other)]).text(), "{other:?}");
        }
        // It stands in records of lakes that are there.
        assert_eq!(whole.text(), "95c76641065e8154");
    }

    #[test]
    fn a_table_without_events_has_none() {
        let schema = Schema::new(vec![
            Field::new("partition", DataType::Utf8, true),
            Field::new("offset", DataType::Int64, true),
        ]);
        assert_eq!(Prints::columns(&schema), None);
    }
}

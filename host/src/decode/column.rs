//! Columns under construction that can take back their last row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array, Float64Array,
    Int64Array, NullBufferBuilder, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use super::block::WIDTH;

/// A column under construction.
pub(super) struct Builder {
    pub(super) data_type: DataType,
    /// Nothing is allocated while there is no null.
    valid: NullBufferBuilder,
    values: Values,
}

enum Values {
    Bits(BooleanBufferBuilder),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Bytes { offsets: Vec<i32>, data: Vec<u8> },
}

impl Builder {
    pub(super) fn new(data_type: &DataType) -> Self {
        let values = match data_type {
            DataType::Boolean => Values::Bits(BooleanBufferBuilder::new(0)),
            DataType::Float64 => Values::Floats(Vec::new()),
            DataType::Utf8 | DataType::Binary => Values::Bytes { offsets: vec![0], data: Vec::new() },
            _ => Values::Ints(Vec::new()),
        };
        Builder { data_type: data_type.clone(), valid: NullBufferBuilder::new(0), values }
    }

    pub(super) fn len(&self) -> usize {
        self.valid.len()
    }

    pub(super) fn null(&mut self) {
        match &mut self.values {
            Values::Bits(bits) => bits.append(false),
            Values::Ints(ints) => ints.push(0),
            Values::Floats(floats) => floats.push(0.0),
            Values::Bytes { offsets, .. } => offsets.push(*offsets.last().unwrap_or(&0)),
        }
        self.valid.append_null();
    }

    /// Appends a value of the kind that the column has; false: it has another, or is full.
    #[must_use]
    pub(super) fn bool(&mut self, value: bool) -> bool {
        let Values::Bits(bits) = &mut self.values else { return false };
        bits.append(value);
        self.valid.append_non_null();
        true
    }

    /// See [`Builder::bool`].
    #[must_use]
    pub(super) fn int(&mut self, value: i64) -> bool {
        let Values::Ints(ints) = &mut self.values else { return false };
        ints.push(value);
        self.valid.append_non_null();
        true
    }

    /// See [`Builder::bool`].
    #[must_use]
    pub(super) fn float(&mut self, value: f64) -> bool {
        let Values::Floats(floats) = &mut self.values else { return false };
        floats.push(value);
        self.valid.append_non_null();
        true
    }

    /// See [`Builder::bool`].
    #[must_use]
    pub(super) fn bytes(&mut self, value: &[u8]) -> bool {
        let Values::Bytes { offsets, data } = &mut self.values else { return false };
        let Ok(end) = i32::try_from(data.len() + value.len()) else { return false };
        data.extend_from_slice(value);
        offsets.push(end);
        self.valid.append_non_null();
        true
    }

    /// Appends `from[at..end]` as [`Builder::bytes`] would.
    #[must_use]
    #[inline(always)]
    pub(super) fn copy(&mut self, from: &[u8], at: usize, end: usize) -> bool {
        let Values::Bytes { offsets, data } = &mut self.values else { return false };
        let (begin, len) = (data.len(), end - at);
        // A whole block is quicker to copy than a few bytes: no call, no loop.
        match from.get(at..).and_then(<[u8]>::first_chunk::<WIDTH>) {
            Some(block) if len <= WIDTH => {
                data.extend_from_slice(block);
                data.truncate(begin + len);
            }
            _ => data.extend_from_slice(&from[at..end]),
        }
        let Ok(end) = i32::try_from(data.len()) else {
            data.truncate(begin);
            return false;
        };
        offsets.push(end);
        self.valid.append_non_null();
        true
    }

    /// Takes back all rows from `rows` on.
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.len() <= rows {
            return;
        }
        self.valid.truncate(rows);
        match &mut self.values {
            Values::Bits(bits) => bits.truncate(rows),
            Values::Ints(ints) => ints.truncate(rows),
            Values::Floats(floats) => floats.truncate(rows),
            Values::Bytes { offsets, data } => {
                offsets.truncate(rows + 1);
                data.truncate(usize::try_from(offsets[rows]).unwrap_or_default());
            }
        }
    }

    /// The column; the builder is empty again.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let nulls = self.valid.finish().filter(|n| n.null_count() > 0);
        match &mut self.values {
            Values::Bits(bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Floats(floats) => Arc::new(Float64Array::new(take(floats).into(), nulls)),
            Values::Ints(ints) => {
                let ints = take(ints);
                match self.data_type {
                    DataType::Timestamp(..) => {
                        Arc::new(TimestampMicrosecondArray::new(ints.into(), nulls).with_timezone("UTC"))
                    }
                    DataType::Date32 => {
                        let days = ints.into_iter().map(|d| i32::try_from(d).unwrap_or_default());
                        Arc::new(Date32Array::new(days.collect(), nulls))
                    }
                    DataType::Decimal128(precision, scale) => {
                        let values: ScalarBuffer<i128> = ints.into_iter().map(i128::from).collect();
                        Arc::new(
                            Decimal128Array::new(values, nulls)
                                .with_data_type(DataType::Decimal128(precision, scale)),
                        )
                    }
                    _ => Arc::new(Int64Array::new(ints.into(), nulls)),
                }
            }
            Values::Bytes { offsets, data } => {
                let capacity = offsets.len();
                let mut fresh = Vec::with_capacity(capacity);
                fresh.push(0);
                let offsets = OffsetBuffer::new(std::mem::replace(offsets, fresh).into());
                let data = Buffer::from_vec(take(data));
                match self.data_type {
                    DataType::Utf8 => Arc::new(StringArray::new(offsets, data, nulls)),
                    _ => Arc::new(BinaryArray::new(offsets, data, nulls)),
                }
            }
        }
    }
}

/// The content, leaving an empty vector with as much room: batches are alike.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = values.len();
    std::mem::replace(values, Vec::with_capacity(capacity))
}

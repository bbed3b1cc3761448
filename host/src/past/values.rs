//! Rows without a place of their own, as events.

use std::sync::Arc;

use arrow::array::{BinaryArray, TimestampMicrosecondArray};
use arrow::buffer::{Buffer, OffsetBuffer};

use super::{BYTES, Chunk, ROWS};
use crate::batch::Delivered;
use crate::table::no_headers;

/// Values of rows under construction.
pub(super) struct Values {
    name: Arc<str>,
    data: Vec<u8>,
    ends: Vec<i32>,
    wrong: Vec<(i64, String)>,
}

impl Values {
    pub(super) fn new(name: &str) -> Values {
        Values { name: name.into(), data: Vec::new(), ends: vec![0], wrong: vec![] }
    }

    /// Where the bytes of the next value go.
    pub(super) fn data(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Bytes of the value that is not ended yet.
    pub(super) fn open(&self) -> &[u8] {
        let from = self.ends.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or_default();
        &self.data[from..]
    }

    /// Drops the value that is not ended yet.
    pub(super) fn drop_open(&mut self) {
        let length = self.data.len() - self.open().len();
        self.data.truncate(length);
    }

    /// Ends a value.
    pub(super) fn end(&mut self) {
        // A batch is full long before 2 GiB.
        self.ends.push(i32::try_from(self.data.len()).unwrap_or(i32::MAX));
    }

    /// The value that was ended last is no event. Its number is counted from the first of the batch.
    pub(super) fn wrong(&mut self, why: String) {
        let row = self.rows().saturating_sub(1);
        self.wrong.push((i64::try_from(row).unwrap_or(i64::MAX), why));
    }

    pub(super) fn rows(&self) -> usize {
        self.ends.len() - 1
    }

    /// Whether there is as much as fits a batch.
    pub(super) fn full(&self, most: usize) -> bool {
        self.rows() >= most.min(ROWS) || self.data.len() >= BYTES
    }

    /// The rows; none: there are none. The first has this number.
    pub(super) fn take(&mut self, at: i64) -> Option<Chunk> {
        let rows = self.rows();
        if rows == 0 {
            return None;
        }
        let to = at + i64::try_from(rows).unwrap_or(i64::MAX);
        let ends = std::mem::replace(&mut self.ends, vec![0]);
        let room = self.data.len();
        let data = std::mem::replace(&mut self.data, Vec::with_capacity(room));
        let value = BinaryArray::new(OffsetBuffer::new(ends.into()), Buffer::from_vec(data), None);
        let events = Delivered {
            topic: self.name.clone(),
            partition: 0,
            from: at,
            to,
            offset: (at..to).collect::<Vec<i64>>().into(),
            timestamp: TimestampMicrosecondArray::from(vec![0; rows]).with_timezone("UTC"),
            key: BinaryArray::new_null(rows),
            value,
            headers: no_headers(rows),
        };
        let wrong = std::mem::take(&mut self.wrong).into_iter().map(|(row, why)| (at + row, why));
        Some(Chunk { from: at, to, events: vec![events], wrong: wrong.collect() })
    }
}

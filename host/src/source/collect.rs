//! Collects the messages of one partition into batches.

use std::sync::Arc;
use std::time::Instant;

use super::messages::Messages;
use crate::batch::Delivered;
use crate::env::{Env, Micros};
use crate::table::{header_fields, headers_type, no_headers};
use arrow::array::{ArrayRef, BinaryArray, BooleanBufferBuilder, ListArray, StringArray, StructArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;

/// A batch is full at so many events.
const ROWS: usize = 8192;
/// 2000-01-01T00:00:00Z: a record's timestamp before it is not to be believed.
const MILLENNIUM: Micros = 946_684_800_000_000;
/// Nor is one further ahead of the clock.
const AHEAD: Micros = 86_400_000_000;

/// What is collected of a message.
pub(super) trait Event {
    /// Its offset.
    fn offset(&self) -> i64;
    /// Milliseconds since 1970; none: it has no time.
    fn time(&self) -> Option<i64>;
    /// Its key, or null.
    fn key(&self) -> Option<&[u8]>;
    /// Its value, or null.
    fn value(&self) -> Option<&[u8]>;
    /// Shows each header in order: its name as it is, and its value or null.
    fn headers(&self, each: impl FnMut(&[u8], Option<&[u8]>));
}

/// Collects messages of one partition, in order.
pub struct Collector {
    env: Env,
    topic: Arc<str>,
    partition: i32,
    /// The offset that comes next.
    position: i64,
    /// The batch is full at so many bytes of keys, values and headers.
    bytes: usize,
    /// What lies at or after it is left out.
    until: i64,
    from: i64,
    /// The time of arrival, for all messages that were handed over at once.
    arrival: Micros,
    /// What was handed over and did not fit.
    pub(super) rest: Messages,
    since: Option<Instant>,
    offset: Vec<i64>,
    timestamp: Vec<Micros>,
    key: Bytes,
    value: Bytes,
    headers: HeaderColumn,
}

impl Collector {
    /// A collector that expects this offset next. A batch is full at 8,192 events or so many bytes.
    pub fn new(env: Env, topic: Arc<str>, partition: i32, position: i64, bytes: usize) -> Self {
        Collector {
            env,
            topic,
            partition,
            position,
            bytes,
            until: i64::MAX,
            from: position,
            arrival: 0,
            rest: Messages::default(),
            since: None,
            offset: Vec::new(),
            timestamp: Vec::new(),
            key: Bytes::default(),
            value: Bytes::default(),
            headers: HeaderColumn::default(),
        }
    }

    /// The same, but the offsets end before this one.
    pub(super) fn until(self, until: i64) -> Self {
        Collector { until, ..self }
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The offset that comes next.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// Whether there is as much as fits a batch.
    pub fn full(&self) -> bool {
        self.offset.len() >= ROWS
            || self.value.data.len() + self.key.data.len() + self.headers.bytes >= self.bytes
    }

    /// When the first event of the batch came; none: there is none.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Drops what was collected and expects this offset next.
    pub fn reset(&mut self, position: i64) {
        let (env, topic) = (self.env.clone(), self.topic.clone());
        *self = Collector::new(env, topic, self.partition, position, self.bytes);
    }

    /// Messages have arrived and are about to be pushed.
    pub(super) fn arrive(&mut self) {
        self.arrival = self.env.now();
    }

    pub(super) fn push(&mut self, message: &impl Event) {
        let offset = message.offset();
        if offset < self.position {
            // Fetched before we went back to an earlier offset, or delivered twice.
            return;
        }
        if offset >= self.until {
            self.position = self.until;
            return;
        }
        self.since.get_or_insert_with(Instant::now);
        self.position = offset + 1;
        self.offset.push(offset);
        self.timestamp.push(self.time(message.time()));
        self.key.push(message.key());
        self.value.push(message.value());
        self.headers.push(message, self.offset.len());
    }

    /// Kafka's timestamp, or the time of arrival where it is missing or absurd: it names the folder.
    fn time(&self, millis: Option<i64>) -> Micros {
        let micros = millis.and_then(|m| m.checked_mul(1000));
        let arrival = self.arrival;
        micros.filter(|t| (MILLENNIUM..arrival.saturating_add(AHEAD)).contains(t)).unwrap_or(arrival)
    }

    /// The batch, if there is any event in it.
    pub fn take(&mut self) -> Option<Delivered> {
        if self.offset.is_empty() {
            return None;
        }
        let rows = self.offset.len();
        self.since = None;
        let from = std::mem::replace(&mut self.from, self.position);
        Some(Delivered {
            topic: self.topic.clone(),
            partition: self.partition,
            from,
            to: self.position,
            offset: take(&mut self.offset).into(),
            timestamp: arrow::array::TimestampMicrosecondArray::from(take(&mut self.timestamp))
                .with_timezone("UTC"),
            key: self.key.finish(),
            value: self.value.finish(),
            headers: self.headers.finish(rows),
        })
    }
}

/// The content, leaving an empty vector with as much room.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = values.len();
    std::mem::replace(values, Vec::with_capacity(capacity))
}

/// A binary column under construction.
struct Bytes {
    offsets: Vec<i32>,
    data: Vec<u8>,
    valid: BooleanBufferBuilder,
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes { offsets: vec![0], data: Vec::new(), valid: BooleanBufferBuilder::new(0) }
    }
}

impl Bytes {
    fn push(&mut self, bytes: Option<&[u8]>) {
        self.data.extend_from_slice(bytes.unwrap_or_default());
        self.valid.append(bytes.is_some());
        // A batch is full long before 2 GiB; a single message is at most as large as that.
        self.offsets.push(i32::try_from(self.data.len()).unwrap_or(i32::MAX));
    }

    fn finish(&mut self) -> BinaryArray {
        let nulls = NullBuffer::new(self.valid.finish());
        let mut offsets = take(&mut self.offsets);
        self.offsets.push(0);
        if offsets.is_empty() {
            offsets.push(0);
        }
        let (offsets, data) = (OffsetBuffer::new(offsets.into()), Buffer::from_vec(take(&mut self.data)));
        BinaryArray::new(offsets, data, Some(nulls).filter(|n| n.null_count() > 0))
    }
}

/// Headers are rare: nothing is built before the first one.
#[derive(Default)]
struct HeaderColumn {
    /// The end of each event's headers, from the first event that has any.
    ends: Vec<i32>,
    names: Vec<String>,
    values: Vec<Option<Vec<u8>>>,
    /// What names and values take.
    bytes: usize,
}

impl HeaderColumn {
    fn push(&mut self, message: &impl Event, rows: usize) {
        let before = self.names.len();
        message.headers(|name, value| {
            // A name that is not UTF-8 keeps its place without it.
            let name = std::str::from_utf8(name).unwrap_or_default();
            self.bytes += name.len() + value.map_or(0, <[u8]>::len) + 48;
            self.names.push(name.into());
            self.values.push(value.map(<[u8]>::to_vec));
        });
        if before == self.names.len() && before == 0 {
            return;
        }
        let before = i32::try_from(before).unwrap_or(i32::MAX);
        self.ends.resize(rows - 1, before);
        self.ends.push(i32::try_from(self.names.len()).unwrap_or(i32::MAX));
    }

    fn finish(&mut self, rows: usize) -> ListArray {
        if self.names.is_empty() {
            return no_headers(rows);
        }
        self.bytes = 0;
        let mut offsets = vec![0];
        offsets.append(&mut self.ends);
        let names: ArrayRef = Arc::new(StringArray::from(std::mem::take(&mut self.names)));
        let values: ArrayRef = Arc::new(BinaryArray::from_iter(std::mem::take(&mut self.values)));
        let DataType::List(item) = headers_type() else { unreachable!("headers are a list") };
        let items = StructArray::new(header_fields(), vec![names, values], None);
        ListArray::new(item, OffsetBuffer::new(offsets.into()), Arc::new(items), None)
    }
}

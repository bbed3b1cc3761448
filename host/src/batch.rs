//! The types that stages hand to each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, ListArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::env::Micros;
use crate::table::Table;

/// Events of one partition as Kafka delivered them, in offset order. `source` to `decode`.
#[derive(Debug)]
pub struct Delivered {
    /// The topic they came from.
    pub topic: Arc<str>,
    /// The partition they came from.
    pub partition: i32,
    /// The first offset that this batch accounts for.
    pub from: i64,
    /// The offset after the last: where the next batch begins.
    pub to: i64,
    /// The offset of each event; a compacted topic has holes.
    pub offset: Int64Array,
    /// Kafka's timestamp of each event; never null (the time of arrival where Kafka has none).
    pub timestamp: TimestampMicrosecondArray,
    /// The key of each event, or null.
    pub key: BinaryArray,
    /// The value of each event, or null (a tombstone).
    pub value: BinaryArray,
    /// The headers of each event: a list of `{name, value}`, in order, never null.
    pub headers: ListArray,
}

impl Delivered {
    /// How many events there are.
    pub fn len(&self) -> usize {
        self.offset.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A field that the transforms need from an event. What nobody declares is not parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldSpec {
    /// The JSON member of this name, or a JSON Pointer (RFC 6901) if it starts with `/`.
    pub path: String,
    /// The type it must have.
    pub data_type: DataType,
}

/// Decoded rows of one partition. `decode` to `transform`.
#[derive(Debug)]
pub struct Batch {
    /// The events behind the rows.
    pub delivered: Arc<Delivered>,
    /// For each row its event: an index into `delivered`, ascending.
    pub rows: Vec<u32>,
    /// The declared fields, in the order in which they were declared; each as long as `rows`.
    pub columns: Vec<ArrayRef>,
    /// The events that are no rows, with the reason.
    pub rejects: Vec<Reject>,
}

/// The stage that rejected an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It could not be decoded.
    Decode,
    /// A transform refused it.
    Transform,
}

impl Stage {
    /// Its name in the rejected table and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Transform => "transform",
        }
    }
}

/// A transform as it appears in rejects, footers and records.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// What it calls itself.
    pub name: String,
    /// The version it gives itself.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
}

/// An event that went no further, and why.
#[derive(Clone, Debug)]
pub struct Reject {
    /// The event: an index into the batch's [`Delivered`].
    pub row: u32,
    /// Where it was rejected.
    pub stage: Stage,
    /// By whom, if by a transform.
    pub transform: Option<Arc<Identity>>,
    /// Few and stable: it labels a metric.
    pub reason: Arc<str>,
}

/// Rows of one table. `transform` to `sink`.
#[derive(Debug)]
pub struct Rows {
    /// The table that they belong to.
    pub table: Arc<Table>,
    /// The rows, with the table's schema.
    pub batch: RecordBatch,
}

/// What became of the rows that one transform received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Rows that went in.
    pub input: u64,
    /// Input rows that are in at least one output.
    pub emitted: u64,
    /// Input rows that were refused.
    pub rejected: u64,
    /// Input rows that a transform without state left out.
    pub filtered: u64,
    /// Input rows that a transform with state took in.
    pub absorbed: u64,
}

/// What a transform holds in one partition at the end of an epoch, and what befell it meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Bytes of its linear memories.
    pub memory: u64,
    /// Bytes of its state.
    pub state: u64,
    /// Rows that were rejected because it failed on them.
    pub poison: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.input += other.input;
        self.emitted += other.emitted;
        self.rejected += other.rejected;
        self.filtered += other.filtered;
        self.absorbed += other.absorbed;
    }
}

/// What the transforms made of one batch, or of one flush.
#[derive(Debug, Default)]
pub struct Outcome {
    /// New rows of tables.
    pub rows: Vec<Rows>,
    /// Events that a transform refused.
    pub rejects: Vec<Reject>,
}

/// How far event time has come in one partition, as records say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTime {
    /// The newest Kafka timestamp.
    pub newest: Option<Micros>,
    /// By transform: the event time that its input has reached.
    pub reached: BTreeMap<String, Micros>,
}

/// The offsets of one partition that an epoch accounts for: `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
    /// Kafka's timestamp of the oldest event in it.
    pub oldest: Option<Micros>,
    /// How many events were delivered.
    pub events: u64,
}

//! What records say of history that did not come through the stream (rule M8): who works on which part of a source, and
//! which parts of it have become true.

use serde::{Deserialize, Serialize};

use super::{StateRef, Topic, Work};
use crate::env::Micros;

/// A source of history. What it is called does not matter, only what is in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A file, by the SHA-256 of its bytes: its rows are counted from 0.
    File(String),
    /// A partition of a topic, with its offsets.
    Partition(Topic, i32),
}

/// Rows `from..to` of a source, which somebody works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The source.
    pub source: Source,
    /// What it was called.
    pub name: String,
    /// The source's number in this log, if its rows have no partition of their own: they stand in partition
    /// [`partition`] of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The first row.
    pub from: i64,
    /// The row after the last.
    pub to: i64,
}

/// The partition in which rows of the source of this number stand.
pub fn partition(number: u32) -> i32 {
    i32::try_from(number).map_or(i32::MIN, |number| -1 - number)
}

/// Somebody works on parts of sources. It keeps nobody from doing the same: what becomes true is compared with what is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who: a name that only this run has. What it had claimed before is given up.
    pub holder: String,
    /// For so long after the record's time.
    pub seconds: u32,
    /// The parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Claimed>,
    /// Chains, whose portions are done one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<String>,
}

/// Rows `from..to` of a source, which are true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    /// The source.
    pub source: Source,
    /// What it was called.
    pub name: String,
    /// Its number in this log, if its rows have no partition of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The first row.
    pub from: i64,
    /// The row after the last.
    pub to: i64,
    /// The source ends there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// Rows that are events in the raw zone now: not those that the stream has brought.
    pub events: u64,
    /// Which events they are, if the source says so: it is the raw zone of a lake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<Offsets>,
}

/// Events of a partition: so many, with offsets in `from..to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offsets {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
    /// Events.
    pub events: u64,
}

/// A portion of history that became true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilled {
    /// The epoch that staged its files and stored its states.
    pub epoch: String,
    /// The record with the set of transforms that were at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u64>,
    /// The parts of sources.
    pub parts: Vec<Brought>,
    /// Rows that the stream had brought already.
    #[serde(default)]
    pub skipped: u64,
    /// Events that could not be decoded, or had no time.
    #[serde(default)]
    pub undecoded: u64,
    /// What became of the rows, by transform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Work>,
    /// The chains of which this is a link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chains: Vec<Link>,
}

/// A link of a chain of portions, in which what transforms remember is handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The chain.
    pub chain: String,
    /// The record with the link before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// The source that it has come to; none: it read nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The row after the last that it has had of it.
    #[serde(default)]
    pub at: i64,
    /// It is the last one: windows are closed, and nothing is remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
    /// What is remembered behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<Kept>,
}

/// What the transforms of one lane of a chain remember: their instances see rows of that lane only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The lane: a topic and a partition, or nothing where rows have none.
    pub lane: String,
    /// The newest timestamp of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Micros>,
    /// The transforms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Remembers>,
}

/// What one transform remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembers {
    /// The transform.
    pub name: String,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateRef>,
    /// The event time that its input has reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Micros>,
}

impl Backfilled {
    /// Events that are in the raw zone by it.
    pub fn events(&self) -> u64 {
        self.parts.iter().map(|part| part.events).sum()
    }
}

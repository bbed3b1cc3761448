//! What records of maintenance say of hours and of rows from before.

use serde::{Deserialize, Serialize};

use super::{Brought, Work};

/// An hour of a table gets another generation: its live files are exactly those that this record takes away (rule M4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    /// The table.
    pub table: String,
    /// Hours since 1970.
    pub hour: i64,
    /// The new generation.
    pub generation: u32,
}

/// A part of what a flip took away: files `from..to` of the `of` that stand in its record, in their order there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The record of the flip.
    pub flip: u64,
    /// The first of its files that are meant.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
    /// How many there are.
    pub of: u64,
}

/// What a compaction read: what it wrote must be the same rows, or, in a table that merges by key, the same sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// Rows of the files that it takes away.
    pub rows: u64,
    /// Which events they stem from, in a number that does not depend on their order; none: rows of this table stem
    /// from no single events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<String>,
    /// Rows of equal keys were put together.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
}

/// What an erasure took out of the hours of its record: the rows of one subject, of whom nothing but a hash is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// The member of events, or the JSON Pointer, that names the subject.
    pub field: String,
    /// What was hashed before the value: text, the same in all records of a run.
    pub salt: String,
    /// SHA-256 of the salt and the value, in hexadecimal.
    pub hash: String,
    /// Rows that are gone.
    pub rows: u64,
    /// Rows that stay: those of the new files.
    pub kept: u64,
    /// Which events those stem from, as in a compaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<String>,
}

/// What became of the rows of files of rejected events that a replay takes away: `rows` went through the transforms,
/// `kept` stand in the new files as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// The reason of the rows that went.
    pub reason: String,
    /// The record with the set of transforms that were at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u64>,
    /// Rows that went.
    pub rows: u64,
    /// Rows that stayed.
    pub kept: u64,
    /// Rows of those that went that could not be decoded, again.
    pub undecoded: u64,
    /// Rows in the new files that were rejected again.
    pub again: u64,
    /// What became of the rows, by transform.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Work>,
}

/// What hours were made anew from: the events of the raw zone that could have rows in them, through some transforms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reprocessed {
    /// The record with the set of transforms that were at work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u64>,
    /// Events that were read.
    pub events: u64,
    /// Those of them that could not be decoded.
    pub undecoded: u64,
    /// Rows that came into these hours meanwhile, by the same set: they are kept as they were.
    #[serde(default, skip_serializing_if = "zero")]
    pub carried: u64,
    /// The hours are the past of tables that are younger than the events: they have it now (rule M8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fills: Option<Brought>,
    /// What became of the events, by transform: also of those whose rows lie in other hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transforms: Vec<Work>,
}

/// What hours were put back to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The record that had rewritten them: what it took away is true again.
    pub record: u64,
    /// The hours that lack their past again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empties: Option<Brought>,
    /// Rows that came since: they are kept.
    #[serde(default, skip_serializing_if = "zero")]
    pub carried: u64,
}

fn zero(count: &u64) -> bool {
    *count == 0
}

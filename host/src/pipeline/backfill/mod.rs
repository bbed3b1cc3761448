//! History that did not come through the stream: files, and offsets from before the stream began, through the transforms
//! that the commit log names, into the same tables (rule M8).
//!
//! ```text
//! log ──> what is true, who works on what ──plan──> a portion, claimed
//!                                                      │
//! sources ──feed──> threads: decode, transform, encode ──> staged files, states ──> one record
//! ```
//!
//! The contract:
//!
//! * A portion is one record. Before it nothing of it is true, after it everything, and its rows are in no other: that
//!   is compared at every slot. So it may be killed at any time, run again, and run several times at once.
//! * What is claimed is left to whoever claimed it, as long as the claim lasts. Claims keep nobody from being right.
//! * Where transforms remember more than sums, portions of a source are links of a chain: each goes on from what was
//!   remembered behind the one before, whoever did it. At the end of a chain windows close.
//! * A portion is made anew if another set of transforms became the one to run, or an hour was rewritten meanwhile.
//! * Memory is bounded by batches under way, the encoders' buffers and the instances, one set for each lane.

mod chain;
mod claims;
mod feed;
mod lane;
mod plan;
mod portion;
mod report;
mod run;
mod times;
mod topic;

use std::time::Duration;

pub use report::{Report, Told};
pub use run::backfill;

use crate::env::Micros;
use crate::past::File;

/// Where history comes from.
#[derive(Clone, Debug)]
pub enum From {
    /// Files.
    Files(Vec<File>),
    /// The topic of the lake, from there on to where the stream began.
    Topic(Begin),
}

/// Where in the topic history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the first offset that is there.
    Earliest,
    /// At this offset, in each partition.
    Offset(i64),
    /// At the first event with this time or a later one.
    Time(Micros),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where history comes from.
    pub from: From,
    /// The member of JSON, CSV and Parquet rows that says when they happened: a name or a JSON Pointer.
    pub time: String,
    /// How large a portion may get.
    pub bounds: Bounds,
    /// How long a claim lasts.
    pub claim: Duration,
    /// Nothing is written.
    pub dry: bool,
}

/// How large a portion may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Rows.
    pub rows: u64,
    /// Bytes of values.
    pub bytes: u64,
    /// Files that a thread has begun.
    pub files: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { rows: 1_000_000, bytes: 512 << 20, files: 1000 }
    }
}

/// A time or a number as people write where to begin: `earliest`, an offset, or an RFC 3339 time.
pub fn begin(text: &str) -> Result<Begin, String> {
    if text == "earliest" {
        return Ok(Begin::Earliest);
    }
    if let Ok(offset) = text.parse::<i64>() {
        return if offset < 0 { Err("an offset is not negative".into()) } else { Ok(Begin::Offset(offset)) };
    }
    let time = times::text(text).map(Begin::Time);
    time.ok_or_else(|| "expected earliest, an offset, or a time as 2025-12-02T09:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin() {
        assert_eq!(begin("earliest"), Ok(Begin::Earliest));
        assert_eq!(begin("17"), Ok(Begin::Offset(17)));
        assert_eq!(begin("1970-01-01T00:00:01Z"), Ok(Begin::Time(1_000_000)));
        assert!(begin("-1").is_err() && begin("soon").is_err());
    }
}

//! History in files: JSON lines, CSV and Parquet, plain or packed, on a disk or in a bucket, as events.
//!
//! ```text
//! patterns ──find──> files ──open──> bytes ──unpack──> rows ──> events, in batches
//! ```
//!
//! The contract:
//!
//! * A file is what is in it: its SHA-256. Its rows are counted from 0, the same way each time it is read.
//! * A row becomes an event whose value is a JSON object: a line of JSON as it is, a row of CSV or Parquet with its
//!   columns as members. Files of the raw zone of a lake are recognized by their columns; their events stay what they
//!   are, with topic, partition, offset, timestamp, key and headers.
//! * A row that is no event of its kind is one all the same, and says why: it becomes a rejected one.
//! * Memory does not grow with a file. A line or a row beyond [`LONGEST`] ends the reading with an error.

mod bytes;
mod csv;
mod find;
mod lines;
mod object;
mod parquet;
mod pattern;
#[cfg(test)]
mod tests;
mod values;

pub use bytes::{Place, digest};
pub use find::{Found, find};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::datatypes::DataType;

use crate::batch::Delivered;
use crate::{Error, Result};

/// The longest line or row.
pub const LONGEST: usize = 64 << 20;
/// Rows of a batch of events, at most.
const ROWS: usize = 8192;
/// Bytes of a batch, about.
const BYTES: usize = 4 << 20;

/// How rows stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object a line
    Json,
    /// Comma-separated values, with a header
    Csv,
    /// Parquet
    Parquet,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its address, for people.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// Its size as it lies there.
    pub bytes: u64,
    /// How its rows stand in it.
    pub format: Format,
    /// How it is packed.
    pub packing: Packing,
    /// Bytes of files that were read for their rows, of all that share it: for who waits.
    pub read: Arc<AtomicU64>,
}

/// Some rows of a file, as events.
#[derive(Debug)]
pub struct Chunk {
    /// The number of the first.
    pub from: i64,
    /// The number after the last.
    pub to: i64,
    /// The events, by topic and partition if the file says them. Otherwise they are one batch, whose topic is the
    /// file's name, whose offsets are the numbers of rows, and which has no timestamps yet.
    pub events: Vec<Delivered>,
    /// Rows that are no events, with the reason: numbers of rows.
    pub wrong: Vec<(i64, String)>,
}

/// What reads a file, in the order of its rows.
pub struct Reader {
    rows: Box<dyn Rows>,
    /// Whether events say their topic, partition and offset.
    pub raw: bool,
    at: i64,
    name: String,
}

/// Reads rows of some format.
trait Rows: Send {
    /// Skips rows; how many there were to skip.
    fn skip(&mut self, rows: i64) -> Result<i64>;
    /// The next rows, at most so many. Their numbers begin with `at`. None: there are no more.
    fn next(&mut self, at: i64, most: usize) -> Result<Option<Chunk>>;
}

impl Reader {
    /// Opens a file. `types`: what members must be, by name, where that is known. Blocks.
    pub fn open(file: &File, types: &BTreeMap<String, DataType>) -> Result<Reader> {
        let (rows, raw): (Box<dyn Rows>, bool) = match file.format {
            Format::Json => (Box::new(lines::Lines::new(file)?), false),
            Format::Csv => (Box::new(csv::Csv::new(file, types)?), false),
            Format::Parquet => {
                let rows = parquet::Parquet::new(file, types)?;
                let raw = rows.raw();
                (Box::new(rows), raw)
            }
        };
        Ok(Reader { rows, raw, at: 0, name: file.name.clone() })
    }

    /// The number of the next row.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Goes ahead to a row. False: the file ends before it, at [`at`](Reader::at).
    pub fn go(&mut self, to: i64) -> Result<bool> {
        if to < self.at {
            return Err(Error::stop(format!(
                "{} was read beyond row {to} already; this is a bug",
                self.name
            )));
        }
        self.at += self.rows.skip(to - self.at)?;
        Ok(self.at == to)
    }

    /// The next rows, at most so many. None: the file has ended.
    pub fn read(&mut self, most: i64) -> Result<Option<Chunk>> {
        let most = usize::try_from(most).unwrap_or(ROWS);
        let chunk = self.rows.next(self.at, most)?;
        if let Some(chunk) = &chunk {
            self.at = chunk.to;
        }
        Ok(chunk)
    }
}

/// What went wrong with a file.
fn unreadable(name: &str, why: impl std::fmt::Display) -> Error {
    Error::stop(format!("{name} cannot be read: {why}"))
}

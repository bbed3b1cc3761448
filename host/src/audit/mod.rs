//! Proves that the lake is what the log says, or says where it is not.
//!
//! ```text
//! log ──> chain      slots, chains of partitions, fences, positions
//!    │    books      which files are true, each named once
//!    ├──> contents   each record's rows against its counts        <── every file, once
//!    ├──> compacted  each rewritten hour's rows against what was read
//!    ├──> strays     nothing else is visible                      <── listings
//!    ├──> states     what transforms remember is there
//!    └──> catalog    the hours that have files are what it shows  <── the catalog
//! ```
//!
//! Where there are several logs, each is read by itself, with the files that it names; what is visible, and the
//! catalog, is compared with all of them together ([`whole`]).
//!
//! The contract:
//!
//! * It reads and changes nothing. Only [`repair()`] writes: it publishes what last records left unpublished, and
//!   registers hours in the catalog. Neither ever deletes anything that the log does not remove.
//! * What is found follows from the lake alone, in the same order each time.
//! * It may run beside hosts. What is under way then can be found unpublished or unregistered; a second look, later,
//!   tells.
//! * Memory is bounded by one record's rows and files, by the listing of one table, and by 24 bytes for each epoch
//!   (lanes × commits) and some hundred for each hour of each table.
//! * What cannot be read is no finding but an error: then nothing is proved.

mod backfilled;
mod books;
mod chain;
mod compacted;
mod contents;
mod findings;
mod inspect;
mod leftovers;
mod places;
mod records;
mod repair;
mod rows;
mod states;
mod whole;

pub use findings::{Finding, Findings};
pub use leftovers::{Leftover, What, leftovers};
pub use repair::repair;

use crate::env::Env;
use crate::pipeline::offline::Lake;
use crate::wait::tries;
use crate::{Error, Kind, Result};

/// What an audit saw and found, over all logs.
#[derive(Debug, Default)]
pub struct Report {
    /// Logs.
    pub logs: usize,
    /// Records of the logs.
    pub records: u64,
    /// Events that became true.
    pub events: u64,
    /// Files that are true.
    pub files: u64,
    /// Tables.
    pub tables: usize,
    /// Partitions of the topic.
    pub partitions: usize,
    /// Hours of tables that have files.
    pub hours: usize,
    /// What is no damage, but should be known: offsets that were skipped, a topic that was made anew.
    pub notes: Vec<String>,
    /// Whether there is a catalog that can be compared.
    pub catalog: bool,
    /// What is wrong.
    pub findings: Findings,
}

/// What is told while it runs.
pub type Progress<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Reads the logs and the lake, and compares them. `topic` tells which tables to look at where the log is empty.
pub async fn verify(lakes: &mut [Lake], topic: &str, progress: Progress<'_>) -> Result<Report> {
    whole::Whole::new(lakes, progress).run(topic).await
}

/// How often something is tried that the store does not answer.
const TRIES: u32 = 6;

/// Does something again until the store answers, but not for ever: somebody is waiting.
async fn patiently<T, F: Future<Output = Result<T>>>(env: &Env, attempt: impl FnMut() -> F) -> Result<T> {
    // Nobody will try again: it is an end like any other.
    tries(env, TRIES, attempt)
        .await
        .map_err(|e| Error::new(if e.kind() == Kind::Retry { Kind::Stop } else { e.kind() }, e.to_string()))
}

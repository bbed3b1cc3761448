//! The lake over time: hours that are closed are merged into large files, old ones go, and so do the rows of one person
//! ([`erase`]).
//!
//! ```text
//! live files of an hour ──plan──> read ──merge──> files in the next generation, invisible ──> one record (a flip)
//!                                                                                              │
//!          catalog, views for DuckDB  <── told of the new generation ──────────────────────────┤
//!          the old generation's files <── removed, later, by a record of its own (a sweep) ────┘
//! ```
//!
//! The contract, rule by rule of the commit protocol ([`commit`](crate::commit) keeps M2 to M6 in its `flips`):
//!
//! * **M3, M4** A rewritten hour becomes true only if its files are still those that were read; hosts that were about to
//!   add to its former generation go back and add to the new one. So it may run beside hosts and beside itself.
//! * **M6** What a flip takes away stays until it is older than readers need it, and the catalog shows the hour
//!   elsewhere. The catalog is told what the log says, again and again.
//! * **M8** The time is the store's, and it is not believed if it is far from this machine's or from the last commit's.
//! * A crash leaves staged files for clean-up, or a record that any host finishes. Doing it again finds what is left to
//!   do in the log.
//! * Memory is bounded by [`Order::memory`], a row group that is being written, and one date's list of files.
//! * What cannot be merged as it is (a column that its table has not any more) is left alone, and said.

mod additive;
mod background;
mod clock;
mod columns;
mod compact;
pub mod erase;
mod merge;
mod plan;
mod read;
mod retain;
mod sorted;
mod sweep;
mod tell;
mod told;
mod views;
mod width;

pub(crate) use additive::Additive;
pub use background::{Background, Pace};
pub use clock::now;
pub use compact::{Done, Report, compact};
pub(crate) use plan::refused;
pub use plan::{Order, Task};
pub(crate) use read::Source;
pub use retain::{Expired, Report as Retained, Retention, retain};
pub(crate) use sorted::Sorted;
pub use sweep::{Swept, sweep};
pub(crate) use tell::Teller;
pub(crate) use told::anew as tell_anew;
pub(crate) use views::named;
pub use views::{View, views, write_views};

use crate::catalog::TableSpec;
use crate::config::Config;
use crate::env::Env;
use crate::error::{Error, Kind, Result};
use crate::pipeline::offline::Lake;

/// The lake of a configuration whose hours may be rewritten, with its log read, and what its catalog is told of its
/// tables. `who` is the writer of what becomes a record.
pub async fn open(config: &Config, env: &Env, who: &str) -> Result<(Lake, Vec<TableSpec>)> {
    let mut lake = one(Lake::open(config, env, who).await?)?;
    lake.log.open().await?;
    if lake.log.view().next() == 0 {
        return Err(Error::stop(format!("there is no record in {}: no host has begun", lake.place())));
    }
    let specs = lake.specs(config).await?;
    Ok((lake, specs))
}

/// Whether a table is among those that are meant; where none is named, all are.
fn means(tables: &[String], name: &str) -> bool {
    tables.is_empty() || tables.iter().any(|table| table == name)
}

/// The lake whose hours may be rewritten. Where there are several logs each would rewrite a part of an hour, and the
/// catalog can show only one place of it.
fn one(lakes: Vec<Lake>) -> Result<Lake> {
    match <[Lake; 1]>::try_from(lakes) {
        Ok([lake]) => Ok(lake),
        Err(lakes) => Err(Error::stop(format!(
            "this lake has {} commit logs (setting `logs`): hours can be rewritten, and expire, only where there is one",
            lakes.len()
        ))),
    }
}

/// What a command cannot go on from is an end like any other: nobody goes back to the last commit here.
pub(crate) fn ended(error: Error) -> Error {
    match error.kind() {
        Kind::Abandon => Error::stop(error.to_string()),
        _ => error,
    }
}

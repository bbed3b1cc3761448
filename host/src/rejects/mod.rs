//! The table of rejected events, read back: what stands in it, and which of its rows somebody means.
//!
//! The contract:
//!
//! * What counts are the files that the commit log names as true, not what lies in a folder.
//! * Memory does not grow with the table: files are read in parts and by column, and of reasons, partitions and
//!   samples only so many are told apart.
//! * A file that another host replaces while it is read is no error: the log is read on, and reading begins anew.

mod list;
mod rows;

pub use list::{Group, List, Sample, list};
pub(crate) use rows::{Columns, Shaped, batches, shaped};

use std::time::Duration;

use chrono::{DateTime, NaiveDate};

use crate::Result;
use crate::commit::Log;
use crate::commit::record::DataFile;
use crate::env::Micros;
use crate::table;

/// Which rejected rows are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of events with this or a later time.
    pub since: Option<Micros>,
    /// Of events of this date, in UTC.
    pub date: Option<NaiveDate>,
    /// With this reason.
    pub reason: Option<Reason>,
    /// Rejected by the transform of this name.
    pub transform: Option<String>,
}

/// A reason, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Any that contains this.
    Contains(String),
    /// This one and no other.
    Exactly(String),
}

impl Filter {
    /// The time so long before another.
    pub fn before(now: Micros, ago: Duration) -> Micros {
        now.saturating_sub(Micros::try_from(ago.as_micros()).unwrap_or(Micros::MAX))
    }

    /// Whether a row is meant.
    pub fn takes(&self, time: Micros, transform: Option<&str>, reason: &str) -> bool {
        self.since.is_none_or(|since| time >= since)
            && self.transform.as_deref().is_none_or(|wanted| transform == Some(wanted))
            && match &self.reason {
                None => true,
                Some(Reason::Contains(text)) => reason.contains(text.as_str()),
                Some(Reason::Exactly(text)) => reason == text,
            }
    }

    /// Whether rows of a date can be meant: `2025-12-02`.
    fn on(&self, date: &str) -> bool {
        if let Some(wanted) = self.date {
            return date == wanted.format("%Y-%m-%d").to_string();
        }
        let since = self.since.and_then(DateTime::from_timestamp_micros);
        // Dates of four digits are in the order of their letters; others are looked into.
        since.is_none_or(|since| date.len() != 10 || date >= since.format("%Y-%m-%d").to_string().as_str())
    }

    /// The live files in which meant rows can be, in the order of their hours and keys.
    pub async fn files(&self, log: &Log) -> Result<Vec<DataFile>> {
        let mut files = Vec::new();
        for date in log.dates(table::REJECTED).into_iter().filter(|date| self.on(date)) {
            files.extend(log.live(table::REJECTED, &date).await?.into_values());
        }
        files.retain(|file| self.since.is_none_or(|since| file.file.last >= since));
        files.sort_by(|a, b| (a.file.hour, &a.file.key).cmp(&(b.file.hour, &b.file.key)));
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant() {
        let all = Filter::default();
        assert!(all.takes(0, None, "r") && all.on("2025-12-02") && all.on("-262143-01-01"));
        let some = Filter {
            since: Some(1_764_669_600_000_000),
            reason: Some(Reason::Exactly("user_id is null".into())),
            transform: Some("clean".into()),
            ..Filter::default()
        };
        assert!(some.on("2025-12-02") && !some.on("2025-12-01") && some.on("2026-01-01"));
        let at = 1_764_669_600_000_000;
        assert!(some.takes(at, Some("clean"), "user_id is null"));
        assert!(!some.takes(at - 1, Some("clean"), "user_id is null"));
        assert!(!some.takes(at, None, "user_id is null") && !some.takes(at, Some("clean"), "user_id"));
        let part = Filter { reason: Some(Reason::Contains("user".into())), ..all };
        assert!(part.takes(0, None, "user_id is null") && !part.takes(0, None, "page"));
        let day = Filter { date: NaiveDate::from_ymd_opt(2025, 12, 2), ..Filter::default() };
        assert!(day.on("2025-12-02") && !day.on("2025-12-03"));
    }
}

//! Which hours are worth rewriting. Pure, but for asking the log.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Result;
use crate::catalog::{Catalog, Projection, TableSpec};
use crate::commit::Log;
use crate::commit::record::DataFile;
use crate::env::{HOUR, Micros};
use crate::generations::FIRST;
use crate::table::Hour;

/// A file of this size is small.
const SMALL: u64 = 128 << 20;
/// No file gets much larger.
const LARGEST: u64 = 512 << 20;
/// Files that one record takes away at most.
const MOST: usize = 20_000;

/// What is to be merged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Only these tables; empty: all.
    pub tables: Vec<String>,
    /// Only hours that begin at this time or later.
    pub since: Option<Micros>,
    /// Only hours that have ended so long ago.
    pub closed: Duration,
    /// Only hours with at least so many small files.
    pub files: usize,
    /// Only so many hours.
    pub hours: Option<usize>,
    /// Bytes of rows that may be held.
    pub memory: usize,
    /// Bytes that are read a second, at most; none: as fast as can be.
    pub rate: Option<u64>,
    /// What a flip took away stays so long.
    pub keep: Duration,
    /// Nothing is written.
    pub dry: bool,
}

impl Default for Order {
    fn default() -> Self {
        Order {
            tables: vec![],
            since: None,
            closed: Duration::from_secs(3600),
            files: 2,
            hours: None,
            memory: 64 << 20,
            rate: None,
            keep: Duration::from_secs(24 * 3600),
            dry: false,
        }
    }
}

/// An hour that is worth it.
#[derive(Clone, Debug)]
pub struct Task {
    /// The table.
    pub spec: TableSpec,
    /// The hour.
    pub hour: Hour,
    /// All its files.
    pub files: Vec<DataFile>,
}

impl Task {
    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file.bytes).sum()
    }

    /// Rows of its files.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.file.rows).sum()
    }

    /// The generation that its rows are written to.
    pub(super) fn generation(&self) -> u32 {
        self.files.iter().map(|file| file.generation).max().unwrap_or(FIRST).saturating_add(1)
    }

    /// The size at which a file ends, so that the hour's files are about equal.
    pub(super) fn largest(&self) -> u64 {
        let bytes = self.bytes();
        (bytes / bytes.div_ceil(LARGEST).max(1)).max(SMALL) + (8 << 20)
    }
}

/// Why a table is left alone, by what the catalog says of it now. To be asked for each table once.
pub(crate) async fn refused(catalog: &dyn Catalog, spec: &TableSpec) -> Result<Option<String>> {
    let name = &spec.table.name;
    let why = "has partition projection, with which Athena looks at no other places than date=…/hour=…";
    if matches!(spec.projection, Some(Projection::Days(_))) {
        return Ok(Some(format!("table {name} {why} (setting `projection` of [tables.{name}])")));
    }
    // Somebody may have set it by hand, or a host with other settings.
    let projected = catalog.shown(name).await?.is_some_and(|shown| shown.projected);
    Ok(projected.then(|| format!("table {name} {why} (projection.enabled of the table in the catalog)")))
}

/// Why the hours of a date are left alone: they share a folder with others, or sort elsewhere.
pub(super) fn beyond(table: &str, date: &str) -> Option<String> {
    let known = date.len() == 10 && date.starts_with(|c: char| c.is_ascii_digit());
    (!known)
        .then(|| format!("{table}, date={date}: it is not on the calendar of readers, years 0000 to 9999"))
}

impl Order {
    /// Whether a table is meant.
    pub(super) fn names(&self, table: &str) -> bool {
        super::means(&self.tables, table)
    }

    /// Whether an hour is over.
    fn is_closed(&self, hour: Hour, now: Micros) -> bool {
        let end = hour.0.saturating_add(1).saturating_mul(HOUR);
        let closed = Micros::try_from(self.closed.as_micros()).unwrap_or(Micros::MAX);
        end.saturating_add(closed) <= now
            && self.since.is_none_or(|since| hour.0.saturating_mul(HOUR) >= since)
    }

    /// Whether an hour with these files is worth it.
    fn is_worth(&self, files: &[DataFile]) -> bool {
        let small = files.iter().filter(|file| file.file.bytes < SMALL).count();
        small >= self.files.max(2) && files.len() <= MOST
    }

    /// The hours of a date that are worth it, the oldest first.
    pub(super) async fn tasks(
        &self,
        log: &Log,
        spec: &TableSpec,
        date: &str,
        now: Micros,
    ) -> Result<Vec<Task>> {
        let mut hours: BTreeMap<Hour, Vec<DataFile>> = BTreeMap::new();
        for file in log.live(&spec.table.name, date).await?.into_values() {
            if self.is_closed(file.file.hour, now) {
                hours.entry(file.file.hour).or_default().push(file);
            }
        }
        let worth = hours.into_iter().filter(|(_, files)| self.is_worth(files));
        Ok(worth.map(|(hour, files)| Task { spec: spec.clone(), hour, files }).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Shown;
    use crate::generations::Place;
    use crate::sink::{Publish, StagedFile};
    use crate::table;

    fn files(sizes: &[u64]) -> Vec<DataFile> {
        let file = |(n, bytes): (usize, &u64)| {
            let file = StagedFile {
                zone: table::Zone::Raw,
                table: "t_raw".into(),
                hour: Hour(0),
                key: format!("k{n}"),
                rows: 1,
                bytes: *bytes,
                first: 0,
                last: 0,
                how: Publish::Rename { staging: "s".into() },
            };
            DataFile { epoch: "e".into(), generation: 1, file }
        };
        sizes.iter().enumerate().map(file).collect()
    }

    #[test]
    fn what_was_merged_is_not_merged_again() {
        let order = Order::default();
        let worth = |sizes: &[u64]| order.is_worth(&files(sizes));
        assert!(worth(&[1, 1]) && worth(&[300 << 20, 1, 2]));
        assert!(!worth(&[]) && !worth(&[7]) && !worth(&[300 << 20, 400 << 20, 1]));
        assert!(!order.is_worth(&files(&vec![1; MOST + 1])), "one record would be too large");
        let picky = Order { files: 8, ..order };
        assert!(!picky.is_worth(&files(&[1; 7])) && picky.is_worth(&files(&[1; 8])));
        // What comes of an hour is never worth it, whatever its size is.
        let spec = TableSpec::new(Arc::new(table::raw("t")), "file:///t");
        for bytes in [1, 100, 200, 500, 513, 700, 1100, 5000].map(|mib| mib << 20) {
            let task = Task { spec: spec.clone(), hour: Hour(0), files: files(&[bytes]) };
            let (mut left, mut sizes) = (bytes, vec![]);
            while left > 0 {
                sizes.push(left.min(task.largest()));
                left -= sizes.last().unwrap();
            }
            assert!(!Order::default().is_worth(&files(&sizes)), "{sizes:?}");
            assert!(sizes.iter().all(|size| *size <= LARGEST + (8 << 20)), "{sizes:?}");
        }
    }

    #[test]
    fn an_hour_is_closed_when_nothing_is_expected_any_more() {
        let order = Order { since: Some(5 * HOUR), ..Order::default() };
        let now = 10 * HOUR;
        let closed: Vec<i64> = (0..12).filter(|hour| order.is_closed(Hour(*hour), now)).collect();
        assert_eq!(closed, [5, 6, 7, 8]);
        for absurd in [i64::MIN, i64::MAX] {
            let _ = order.is_closed(Hour(absurd), now);
        }
        assert!(!order.is_closed(Hour(i64::MAX), now));
    }

    #[tokio::test]
    async fn a_table_that_athena_projects_is_left_alone_whoever_has_set_that() {
        /// A catalog in which somebody has switched it on, or not.
        struct Shows(bool);
        #[async_trait::async_trait]
        impl Catalog for Shows {
            async fn ensure(&self, _: &[TableSpec]) -> Result<()> {
                Ok(())
            }
            async fn register(&self, _: &TableSpec, _: &[Place]) -> Result<()> {
                Ok(())
            }
            async fn withdraw(&self, _: &TableSpec, _: &[Hour]) -> Result<()> {
                Ok(())
            }
            async fn shown(&self, _: &str) -> Result<Option<Shown>> {
                Ok(Some(Shown { projected: self.0, ..Shown::default() }))
            }
        }
        let spec = TableSpec::new(Arc::new(table::raw("t")), "s3://b/t");
        assert_eq!(refused(&Shows(false), &spec).await.unwrap(), None);
        let why = refused(&Shows(true), &spec).await.unwrap().unwrap();
        assert!(why.contains("projection.enabled of the table"), "{why}");
        let off = TableSpec { projection: Some(Projection::Off), ..spec.clone() };
        assert!(refused(&Shows(true), &off).await.unwrap().is_some());
        let projected = TableSpec { projection: Some(Projection::Days(9)), ..spec };
        let why = refused(&Shows(false), &projected).await.unwrap().unwrap();
        assert!(why.contains("`projection` of [tables.t_raw]"), "{why}");
    }

    #[test]
    fn dates_that_are_not_on_the_calendar_are_told_by_their_text() {
        for hour in [-17_268_673, 70_389_528, i64::MIN, i64::MAX] {
            assert!(beyond("t", &Hour(hour).values().0).is_some(), "{hour}");
        }
        for hour in [-17_268_672, 0, 70_389_527] {
            assert_eq!(beyond("t", &Hour(hour).values().0), None);
        }
    }
}

//! Hours past their retention: they are no more true, no catalog shows them, and later their files go.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::beyond;
use super::sweep::{Swept, swept};
use super::tell::Teller;
use super::{clock, ended, means, views};
use crate::audit::Progress;
use crate::catalog::TableSpec;
use crate::commit::record::DataFile;
use crate::env::{HOUR, Micros};
use crate::pipeline::offline::Lake;
use crate::table::Hour;
use crate::{Error, Result};

/// Files that one record takes away, about: an hour is not split.
const MOST: usize = 2_000;
/// How often hours are looked at anew because the log has moved on.
const ROUNDS: u32 = 10;

/// What is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Only these tables; empty: all.
    pub tables: Vec<String>,
    /// Days that are kept, by table; none: for ever. Of tables that are not there all days are kept.
    pub days: BTreeMap<String, Option<u32>>,
    /// What was taken away stays so long.
    pub keep: Duration,
    /// Nothing is written.
    pub dry: bool,
    /// The time may have gone ahead of the last commit as far as it likes.
    pub still: bool,
}

/// What has expired of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The table.
    pub table: String,
    /// Its days.
    pub days: u32,
    /// Hours that went, or would go.
    pub hours: u64,
    /// The first and the last of them.
    pub span: Option<(Hour, Hour)>,
    /// Their files.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The records that say so.
    pub records: Vec<u64>,
}

impl Expired {
    fn add(&mut self, files: &[DataFile]) {
        for file in files {
            let hour = file.file.hour;
            let (first, last) = self.span.unwrap_or((hour, hour));
            self.span = Some((first.min(hour), last.max(hour)));
            self.files += 1;
            self.rows += file.file.rows;
            self.bytes += file.file.bytes;
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What has expired, by table.
    pub tables: Vec<Expired>,
    /// What was removed of what earlier runs took away.
    pub swept: Swept,
    /// What was left alone, and why.
    pub left: Vec<String>,
    /// What is left to be told to the catalog, for people.
    pub untold: Option<String>,
}

/// Takes hours away whose last event is older than their table's days, by the store's clock. The log was read.
pub async fn retain(
    lake: &mut Lake,
    specs: &[TableSpec],
    wanted: &Retention,
    progress: Progress<'_>,
) -> Result<Report> {
    let mut report = Report::default();
    lake.log.refresh().await?;
    let now = clock::now(lake).await?;
    if let Some(why) = clock::jumped(lake, now).filter(|_| !wanted.dry && !wanted.still) {
        return Err(Error::stop(format!(
            "{why}; nothing was taken away. If the time is right: --standing-still"
        )));
    }
    let mut teller = Teller::new(lake, specs);
    if !wanted.dry {
        lake.log.roll_forward(None).await.map_err(ended)?;
        if !lake.log.view().generations().is_empty() {
            // A late request may have taken something back since the last run.
            teller.reconcile(lake, specs).await?;
        }
    }
    for spec in specs {
        let name = &spec.table.name;
        let meant = means(&wanted.tables, name);
        let Some(days) = wanted.days.get(name).copied().flatten().filter(|_| meant) else { continue };
        progress(format!("looking for hours of {name}"));
        let before = now.saturating_sub(i64::from(days).saturating_mul(24 * HOUR));
        let mut expired = Expired { table: name.clone(), days, ..Expired::default() };
        for date in lake.log.dates(name) {
            if let Some(why) = beyond(name, &date) {
                // Those to come have not expired.
                report.left.extend(date.starts_with('-').then_some(why));
                continue;
            }
            day(lake, name, &date, before, wanted.dry, &mut teller, &mut expired).await?;
        }
        if !expired.records.is_empty() {
            views::write_views(lake, std::slice::from_ref(spec)).await?;
        }
        if expired.hours > 0 {
            report.tables.push(expired);
        }
    }
    if !wanted.dry {
        report.swept = swept(lake, specs, wanted.keep, &mut teller).await?;
    }
    report.untold = teller.untold;
    Ok(report)
}

/// The hours of one date.
async fn day(
    lake: &mut Lake,
    table: &str,
    date: &str,
    before: Micros,
    dry: bool,
    teller: &mut Teller,
    expired: &mut Expired,
) -> Result<()> {
    let mut rounds = 0;
    loop {
        let mut hours: BTreeMap<Hour, Vec<DataFile>> = BTreeMap::new();
        for file in lake.log.live(table, date).await?.into_values() {
            if file.file.hour.0.saturating_add(1).saturating_mul(HOUR) <= before {
                hours.entry(file.file.hour).or_default().push(file);
            }
        }
        let (mut some, mut count): (Vec<DataFile>, u64) = (vec![], 0);
        for files in hours.into_values() {
            if !dry && !some.is_empty() && some.len() + files.len() > MOST {
                break;
            }
            count += 1;
            some.extend(files);
        }
        if some.is_empty() {
            return Ok(());
        }
        if dry {
            expired.hours += count;
            expired.add(&some);
            return Ok(());
        }
        match lake.log.expire(some.clone(), before, teller.told).await.map_err(ended)? {
            Some(record) => {
                expired.hours += count;
                expired.add(&some);
                expired.records.push(record.seq);
                teller.tell(lake, &record).await;
                rounds = 0;
            }
            // Something late has come into one of them.
            None if rounds < ROUNDS => rounds += 1,
            None => {
                return Err(Error::stop(format!(
                    "hosts keep writing to hours of {table}, {date}, which are past their retention; try later"
                )));
            }
        }
    }
}

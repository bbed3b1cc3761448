//! The rows of one subject go out of the lake: out of the raw zone, the rejected events and the tables of transforms.
//!
//! ```text
//! raw ──look──> the subject's events ──┬─> tables of transforms, rejected events ──> hours rewritten, a record each
//!                                      └─> raw, last ──────────────────────────────> likewise
//! ```
//!
//! The contract:
//!
//! * Only hours that have such rows are rewritten, each by one flip ([`hour`](self::hour)), so it may run beside hosts,
//!   readers and itself, and be killed at any time. Raw is what the rows of tables without the column are found by: it
//!   goes last, and an event goes only if the tables were looked at for it. So doing it again finds what is left.
//! * What was committed when it began goes. What comes later goes where it is met, or is said.
//! * The value stands in no record, error, log or output.
//! * What was taken away is there until it is swept, as with any flip; it is said until when.
//! * Memory is bounded by [`Order::memory`]: the events of the subject, and the rows of an hour that is rewritten.
//! * What cannot be done is said ([`Report::undone`]).

mod events;
mod hour;
mod json;
mod rows;
mod scan;
mod subject;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::events::Events;
use self::hour::{Outcome, Work};
use self::rows::Matcher;
use super::plan::refused;
use super::sweep::{Swept, swept};
use super::tell::Teller;
use super::{clock, ended, means, views};
use crate::audit::Progress;
use crate::catalog::TableSpec;
use crate::commit::View;
use crate::commit::record::{DataFile, Topic};
use crate::env::{HOUR, Micros};
use crate::failpoint::failpoint;
use crate::pipeline::offline::Lake;
use crate::table::{Hour, Zone};
use crate::{Kind, Result};

pub use self::subject::Subject;

/// What one event of the subject takes in memory.
const EVENT: usize = 16;

/// What is to be done, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Only these tables; empty: all.
    pub tables: Vec<String>,
    /// Only hours that begin at this time or later.
    pub since: Option<Micros>,
    /// Only hours that begin before this time.
    pub until: Option<Micros>,
    /// Bytes of rows that may be held.
    pub memory: usize,
    /// What was taken away stays so long for readers.
    pub keep: Duration,
    /// Nothing is written.
    pub dry: bool,
}

impl Order {
    fn takes(&self, hour: Hour) -> bool {
        let begins = hour.0.saturating_mul(HOUR);
        self.since.is_none_or(|since| begins >= since) && self.until.is_none_or(|until| begins < until)
    }
}

/// What was taken out of a table, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The table.
    pub table: String,
    /// Hours that had such rows.
    pub hours: u64,
    /// Rows that went.
    pub rows: u64,
    /// Files that were taken away: all of these hours.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were looked into.
    pub read: u64,
    /// Files that were spared, by what their footers say.
    pub spared: u64,
    /// Events that are no JSON and have the text in them: they stay.
    pub unreadable: u64,
    /// The records that say so.
    pub records: Vec<u64>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By table, in the order in which they were done.
    pub tables: Vec<Taken>,
    /// The subject's events in the raw zone.
    pub events: u64,
    /// Tables in which nobody can be told.
    pub left: Vec<String>,
    /// What was left alone though rows of the subject are in it, or may be, and why.
    pub undone: Vec<String>,
    /// Rows that a column named and whose events were not found in the raw zone.
    pub alone: u64,
    /// Events of the subject that came while it was at work: they are still there.
    pub late: u64,
    /// What was removed of what was taken away.
    pub swept: Swept,
    /// Records whose files are still there for readers, and when those may go at the earliest.
    pub kept: Option<(u64, Micros)>,
    /// What is left to be told to the catalog, for people.
    pub untold: Option<String>,
}

/// Takes a subject's rows out of the lake. The log was read.
pub async fn erase(
    lake: &mut Lake,
    specs: &[TableSpec],
    subject: &Subject,
    order: &Order,
    progress: Progress<'_>,
) -> Result<Report> {
    lake.log.refresh().await?;
    if !order.dry {
        // What is true must be visible before it can be read.
        lake.log.roll_forward(None).await.map_err(ended)?;
    }
    let mut teller = Teller::new(lake, specs);
    if !order.dry && !lake.log.view().generations().is_empty() {
        // A late request may have taken something back since the last run.
        teller.reconcile(lake, specs).await?;
    }
    let mut erasure = Erasure { lake, subject, order, teller, progress, report: Report::default() };
    erasure.unknown(specs).await?;
    let (raw, made): (Vec<_>, Vec<_>) = specs.iter().partition(|spec| spec.table.zone == Zone::Raw);
    let (mut found, mut events) = (Vec::new(), Events::default());
    for spec in raw {
        found.push((spec, erasure.find(spec, &mut events).await?));
    }
    let events = Arc::new(events.sorted());
    erasure.report.events = events.count();
    let told = one_topic(erasure.lake.log.view()).then_some(&events);
    for spec in made {
        erasure.table(spec, told, None).await?;
    }
    for (spec, found) in found {
        erasure.table(spec, Some(&events), Some(found)).await?;
    }
    erasure.end(specs).await
}

/// Whether partition and offset tell an event from all others. Those of a topic that was created anew begin anew, and
/// another lake's raw zone may have brought another topic's.
fn one_topic(view: &View) -> bool {
    let topics: BTreeSet<&Topic> = view.positions().map(|((topic, _), _)| topic).collect();
    let own = view.topic().map(|topic| topic.name.as_str());
    topics.len() < 2 && view.covered().topics().all(|name| Some(name) == own)
}

/// An erasure on its way.
struct Erasure<'a> {
    lake: &'a mut Lake,
    subject: &'a Subject,
    order: &'a Order,
    teller: Teller,
    progress: Progress<'a>,
    report: Report,
}

impl Erasure<'_> {
    /// Says which tables of the log nobody makes any more: how their rows are filed is not known.
    async fn unknown(&mut self, specs: &[TableSpec]) -> Result<()> {
        for name in self.lake.log.tables() {
            if specs.iter().any(|spec| spec.table.name == name) || !means(&self.order.tables, &name) {
                continue;
            }
            for date in self.lake.log.dates(&name) {
                if !self.lake.log.live(&name, &date).await?.is_empty() {
                    self.report.undone.push(format!(
                        "table {name} was not looked into: no transform makes it any more. Deploy one that does, or remove \
                         its files yourself"
                    ));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Looks for the subject's events in a raw table: hours that have some, and what was read.
    async fn find(&mut self, spec: &TableSpec, events: &mut Events) -> Result<(BTreeSet<Hour>, Taken)> {
        let name = &spec.table.name;
        let work = self.work(spec, Matcher::raw(self.subject, &spec.table)).await?;
        let (mut hours, mut taken) = (BTreeSet::new(), Taken { table: name.clone(), ..Taken::default() });
        for date in self.dates(name) {
            for (hour, files) in self.day(name, &date).await? {
                (self.progress)(format!("looking into {name}, {hour}: {} events so far", events.count()));
                let found = match work.look(self.lake, hour, Some(files)).await {
                    Ok((_, found)) => found,
                    Err(e) if e.kind() == Kind::Stop => {
                        self.report.undone.push(format!("{name}, {hour} was not looked into: {e}"));
                        continue;
                    }
                    Err(e) => return Err(e),
                };
                taken.read += found.files.0;
                taken.spared += found.files.1;
                taken.unreadable += found.seen.unreadable;
                events.add(&found.events, self.order.memory / EVENT)?;
                if found.seen.rows > 0 {
                    hours.insert(hour);
                }
            }
        }
        Ok((hours, taken))
    }

    /// Takes rows out of a table. `found`: only out of these hours, after what was found in them.
    async fn table(
        &mut self,
        spec: &TableSpec,
        events: Option<&Arc<Events>>,
        found: Option<(BTreeSet<Hour>, Taken)>,
    ) -> Result<()> {
        let name = &spec.table.name;
        if !means(&self.order.tables, name) {
            return Ok(());
        }
        let matcher = match Matcher::of(self.subject, &spec.table, events) {
            Ok(Some(matcher)) => matcher,
            Ok(None) => {
                self.report.left.push(format!(
                    "table {name}: each of its rows stems from many events, and no column names one (--column)"
                ));
                return Ok(());
            }
            Err(why) => {
                self.report.undone.push(why);
                return Ok(());
            }
        };
        let work = self.work(spec, matcher).await?;
        let mut taken = Taken { table: name.clone(), ..Taken::default() };
        match found {
            Some((hours, found)) => {
                for hour in hours {
                    self.hour(&work, hour, None, &mut taken).await?;
                }
                // Seen the first time.
                taken.unreadable = found.unreadable;
                taken.read += found.read;
                taken.spared += found.spared;
            }
            None => {
                for date in self.dates(name) {
                    for (hour, files) in self.day(name, &date).await? {
                        self.hour(&work, hour, Some(files), &mut taken).await?;
                    }
                }
            }
        }
        if !taken.records.is_empty() {
            views::write_views(self.lake, std::slice::from_ref(spec)).await?;
        }
        self.report.tables.push(taken);
        Ok(())
    }

    async fn hour(
        &mut self,
        work: &Work<'_>,
        hour: Hour,
        files: Option<Vec<DataFile>>,
        taken: &mut Taken,
    ) -> Result<()> {
        let name = &work.spec.table.name;
        (self.progress)(format!("looking into {name}, {hour}: {} rows so far", taken.rows));
        let Outcome { found, files, bytes, done, left } =
            work.hour(self.lake, hour, files, self.teller.told).await?;
        taken.read += found.files.0;
        taken.spared += found.files.1;
        taken.unreadable += found.seen.unreadable;
        self.report.alone += found.seen.alone;
        self.report.late += found.seen.late;
        if let Some(why) = left {
            self.report.undone.push(match found.seen.rows {
                0 => format!("{name}, {hour} was not looked into: {why}"),
                rows => format!("{name}, {hour}: {rows} rows stay: {why}"),
            });
            return Ok(());
        }
        if let Some(record) = &done {
            self.teller.tell(self.lake, record).await;
            failpoint!("erase-told");
            taken.records.push(record.seq);
        }
        let gone = done.as_ref().and_then(|record| record.erased.as_ref()).map(|erased| erased.rows);
        let rows = gone.unwrap_or(found.seen.rows);
        if rows > 0 {
            taken.hours += 1;
            taken.rows += rows;
            taken.files += files;
            taken.bytes += bytes;
        }
        Ok(())
    }

    async fn work<'b>(&self, spec: &'b TableSpec, matcher: Matcher) -> Result<Work<'b>>
    where
        Self: 'b,
    {
        let (matcher, memory, dry) = (Arc::new(matcher), self.order.memory, self.order.dry);
        let refused = refused(self.lake.catalog.as_ref(), spec).await.map_err(ended)?;
        Ok(Work { subject: self.subject.clone(), spec, matcher, memory, dry, refused })
    }

    /// The dates of a table that have hours in question.
    fn dates(&self, table: &str) -> Vec<String> {
        let date = |time: Micros| Hour::of(time).values().0;
        let (since, until) = (self.order.since.map(date), self.order.until.map(date));
        let mut dates: Vec<String> = self.lake.log.dates(table).into_iter().collect();
        // Dates of four digits are in the order of their letters; others are looked into.
        dates.retain(|date| {
            date.len() != 10
                || (since.as_ref().is_none_or(|since| date >= since)
                    && until.as_ref().is_none_or(|until| date <= until))
        });
        dates
    }

    /// The files of the hours in question of a date.
    async fn day(&self, table: &str, date: &str) -> Result<BTreeMap<Hour, Vec<DataFile>>> {
        let mut hours: BTreeMap<Hour, Vec<DataFile>> = BTreeMap::new();
        for file in self.lake.log.live(table, date).await?.into_values() {
            if self.order.takes(file.file.hour) {
                hours.entry(file.file.hour).or_default().push(file);
            }
        }
        Ok(hours)
    }

    /// Removes what readers need no more, and says what is left.
    async fn end(mut self, specs: &[TableSpec]) -> Result<Report> {
        if !self.order.dry {
            self.report.swept = swept(self.lake, specs, self.order.keep, &mut self.teller).await?;
            let waiting = self.lake.log.view().retired().len() as u64;
            if waiting > 0 {
                let keep = Micros::try_from(self.order.keep.as_micros()).unwrap_or(Micros::MAX);
                self.report.kept = Some((waiting, clock::now(self.lake).await?.saturating_add(keep)));
            }
        }
        self.report.untold = self.teller.untold;
        Ok(self.report)
    }
}

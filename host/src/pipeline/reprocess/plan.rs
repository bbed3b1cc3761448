//! What is read and what it takes the place of, as the log has it at one slot.

use std::collections::BTreeMap;

use super::Order;
use crate::catalog::TableSpec;
use crate::commit::Log;
use crate::commit::record::DataFile;
use crate::env::{HOUR, Micros};
use crate::generations::Generations;
use crate::history::refused;
use crate::pipeline::offline::Lake;
use crate::pipeline::program::Program;
use crate::table::{self, Hour, REJECTED};
use crate::{Error, Result};

/// Files that one record takes away at most.
const MOST: usize = 20_000;
/// Records that are looked back for what a partition's transforms were told.
const BACK: usize = 1_000;

/// One portion of the work.
pub(super) struct Plan {
    /// The first hour, and the one after the last.
    pub(super) since: Hour,
    pub(super) until: Hour,
    /// The transforms that work, by name.
    pub(super) names: Vec<String>,
    /// All that there are.
    graph: Vec<String>,
    /// Whether all of them work.
    pub(super) whole: bool,
    /// Their tables.
    pub(super) tables: Vec<TableSpec>,
    /// Files that are there, by table and hour: of the tables, and of rejected events of all hours that are read.
    pub(super) old: BTreeMap<(String, i64), Vec<DataFile>>,
    /// Files of the raw zone, by hour.
    pub(super) raw: Vec<(Hour, Vec<DataFile>)>,
    pub(super) generations: Generations,
    /// See [`Order::of`] and [`Order::late`].
    of: Option<(Hour, Hour, u32)>,
    late: Option<i64>,
    /// The slot up to which the log was read.
    pub(super) next: u64,
    /// Up to where the stream was told that event time is complete, by partition and transform.
    pub(super) told: BTreeMap<i32, BTreeMap<String, Micros>>,
}

/// A table's files that are true from an hour on, to before another if there is one; by hour.
async fn live(
    log: &Log,
    table: &str,
    since: Hour,
    until: Option<Hour>,
) -> Result<BTreeMap<Hour, Vec<DataFile>>> {
    let mut hours: BTreeMap<Hour, Vec<DataFile>> = BTreeMap::new();
    let (first, last) = (since.values().0, until.map(|until| Hour(until.0.saturating_sub(1)).values().0));
    // Dates of four digits are in the order of their letters; others are looked into.
    let far = |date: &String| {
        date.len() != 10
            || (*date >= first && last.as_ref().is_none_or(|last| last.len() != 10 || date <= last))
    };
    for date in log.dates(table).into_iter().filter(far) {
        for file in log.live(table, &date).await?.into_values() {
            if file.file.hour >= since && until.is_none_or(|until| file.file.hour < until) {
                hours.entry(file.file.hour).or_default().push(file);
            }
        }
    }
    Ok(hours)
}

/// Portions of hours, none of which takes away more files than one record can name.
pub(super) async fn portions(lake: &Lake, program: &Program, order: &Order) -> Result<Vec<(Hour, Hour)>> {
    let names = program.graph.anew(&order.transforms)?;
    let tables = program.graph.tables_of(&names);
    let mut count: BTreeMap<Hour, usize> = BTreeMap::new();
    for table in tables.iter().map(|table| table.name.as_str()).chain([REJECTED]) {
        for (hour, files) in live(&lake.log, table, order.since, Some(order.until)).await? {
            *count.entry(hour).or_default() += files.len();
        }
    }
    let (mut portions, mut since, mut files) = (Vec::new(), order.since, 0);
    for (hour, more) in count {
        if more > MOST {
            return Err(Error::stop(format!(
                "{hour} has {more} files, and one record can take {MOST} away: merge them first (tidemill compact)"
            )));
        }
        if files + more > MOST {
            portions.push((since, hour));
            (since, files) = (hour, 0);
        }
        files += more;
    }
    portions.push((since, order.until));
    Ok(portions)
}

impl Plan {
    pub(super) async fn of(lake: &Lake, program: &Program, order: &Order) -> Result<Plan> {
        let (log, view) = (&lake.log, lake.log.view());
        let Order { since, until, .. } = *order;
        let graph = &program.graph;
        let names: Vec<String> = graph.anew(&order.transforms)?.into_iter().map(str::to_owned).collect();
        let made = graph.tables_of(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mine = |spec: &&TableSpec| made.iter().any(|table| table.name == spec.table.name);
        let tables: Vec<TableSpec> = program.tables.iter().filter(mine).cloned().collect();
        let rejected = program.tables.iter().filter(|spec| spec.table.name == REJECTED);
        for spec in tables.iter().chain(rejected) {
            if let Some(why) = refused(lake.catalog.as_ref(), spec).await? {
                return Err(Error::stop(format!("{why}: its hours cannot be made anew")));
            }
        }
        let topic = view.topic().map(|topic| topic.name.as_str()).unwrap_or_default();
        let raw = table::raw(topic).name;
        let generations = view.generations().clone();
        let (first, last) = order.reads();
        expired(&generations, &raw, since, until)?;
        let mut old = BTreeMap::new();
        let named = tables.iter().map(|spec| (spec.table.name.as_str(), since, Some(until)));
        // A rejected event stands in the hour of its Kafka time, which may be any that is read.
        for (table, from, to) in named.chain([(REJECTED, first, last)]) {
            for (hour, files) in live(log, table, from, to).await? {
                old.insert((table.to_owned(), hour.0), files);
            }
        }
        let raw = live(log, &raw, first, last).await?.into_iter().collect();
        let graph: Vec<String> = graph.components().map(|component| component.spec.name.clone()).collect();
        let whole = names.len() == graph.len();
        let late = order.late.map(|late| i64::try_from(late.as_secs().div_ceil(3600)).unwrap_or(i64::MAX));
        let (told, next) = (told(lake).await?, view.next());
        Ok(Plan {
            since,
            until,
            names,
            graph,
            whole,
            tables,
            old,
            raw,
            generations,
            of: order.of,
            late,
            next,
            told,
        })
    }

    /// Whether an hour is one of those that are made anew.
    pub(super) fn within(&self, hour: Hour) -> bool {
        (self.since..self.until).contains(&hour)
    }

    /// Whether rows of an hour, of events that stand in another one, are read with no portion.
    pub(super) fn misses(&self, hour: Hour, from: Hour) -> bool {
        let (Some((first, end, portion)), Some(late)) = (self.of, self.late) else { return false };
        if hour < first || hour >= end {
            return false;
        }
        let portion = i64::from(portion.max(1));
        let until = first.0 + ((hour.0 - first.0) / portion + 1) * portion;
        from.0 >= until.min(end.0).saturating_add(late)
    }

    /// Events that are read.
    pub(super) fn events(&self) -> u64 {
        self.raw.iter().flat_map(|(_, files)| files).map(|file| file.file.rows).sum()
    }

    /// Up to where event time is complete in a partition, by transform, as the stream was told. What the stream was
    /// never told it has none of: nobody else hands it out.
    pub(super) fn complete(&self, partition: i32) -> BTreeMap<String, Micros> {
        let told = self.told.get(&partition);
        let mark = |name: &String| told.and_then(|told| told.get(name)).copied().unwrap_or(Micros::MAX);
        self.graph.iter().map(|name| (name.clone(), mark(name))).collect()
    }

    /// The files of rejected events of an hour.
    pub(super) fn rejected(&self, hour: Hour) -> &[DataFile] {
        self.old.get(&(REJECTED.to_owned(), hour.0)).map_or(&[], Vec::as_slice)
    }
}

impl Order {
    /// The hours of the raw zone that are read: the first, and the one after the last, if there is one.
    fn reads(&self) -> (Hour, Option<Hour>) {
        let micros = |time: std::time::Duration| Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX);
        let first = Hour::of(self.since.0.saturating_mul(HOUR).saturating_sub(micros(self.warm_up)));
        let end = self.until.0.saturating_mul(HOUR);
        let last = self.late.map(|late| Hour::of(end.saturating_add(micros(late)).saturating_add(HOUR - 1)));
        (first, last)
    }
}

/// Hours whose events have gone cannot be made anew: their rows would go, too.
fn expired(now: &Generations, raw: &str, since: Hour, until: Hour) -> Result<()> {
    let gone =
        now.runs(raw).find(|(first, last, standing)| standing.empty && *first < until && *last >= since);
    match gone {
        None => Ok(()),
        Some((first, last, _)) => Err(Error::stop(format!(
            "the events of {raw}, {} to {}, have expired: what was made of them cannot be made anew (begin later: \
             --since)",
            first.max(since),
            last.min(Hour(until.0 - 1))
        ))),
    }
}

/// Up to where event time is complete, as the transforms of each partition were told at its last commit.
async fn told(lake: &Lake) -> Result<BTreeMap<i32, BTreeMap<String, Micros>>> {
    let (view, mut told) = (lake.log.view(), BTreeMap::new());
    let Some(topic) = view.topic() else { return Ok(told) };
    let partitions: Vec<i32> =
        view.positions().filter(|(key, _)| key.0 == *topic).map(|(key, _)| key.1).collect();
    for partition in partitions {
        let mut at = view.partition(topic, partition).map(|(record, _)| record.clone());
        let marks: &mut BTreeMap<String, Micros> = told.entry(partition).or_default();
        // A record about no events, a gap say, does not say it.
        for _ in 0..BACK {
            let Some(record) = at.take() else { break };
            let Some(advance) = record.partitions.iter().find(|advance| advance.partition == partition)
            else {
                break;
            };
            let said =
                advance.transforms.iter().filter_map(|work| Some((work.name.clone(), work.watermark?)));
            marks.extend(said);
            if !advance.transforms.is_empty() {
                break;
            }
            if let Some(prev) = advance.prev {
                at = lake.log.read(prev).await?.map(std::sync::Arc::new);
            }
        }
    }
    Ok(told)
}

//! The pass: events of the raw zone in the order of their time, hour by hour, through decoder and transforms into
//! files. For a thread that may block.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;

use super::Order;
use super::plan::Plan;
use crate::batch::{Delivered, Outcome, Rows};
use crate::commit::record::Work;
use crate::config::Config;
use crate::decode::Decoder;
use crate::env::{Env, HOUR};
use crate::history::{Sorted, Source};
use crate::pipeline::offline::Lake;
use crate::pipeline::own;
use crate::pipeline::program::Program;
use crate::pipeline::stages::stored;
use crate::sink::{EpochWriter, PendingFile, Prints, Stores};
use crate::table::{self, Hour, Table};
use crate::transform::anew::Anew;
use crate::transform::graph::Graph;
use crate::transform::run::Done;
use crate::{Error, Result};

/// After so many events of a partition its transforms are asked for what is due.
const DUE: usize = 50_000;
/// After so many files a new epoch begins, so that not too many are open.
const FILES: u32 = 256;
/// Events outside of the hours, or rejected before, that are remembered at most.
pub(super) const MOST: usize = 10_000_000;

/// An event.
pub(super) type Event = (i32, i64);

/// What a pass came to.
#[derive(Default)]
pub(super) struct Made {
    pub(super) events: u64,
    pub(super) undecoded: u64,
    pub(super) works: Vec<Work>,
    /// Files with the epochs that they are of.
    pub(super) files: Vec<(String, PendingFile)>,
    /// Hours of rejected events that change.
    pub(super) rejected: BTreeSet<Hour>,
    /// Hours of other portions with rows that came too late to be read with them.
    pub(super) missed: BTreeSet<Hour>,
}

/// Everything that a pass needs.
pub(super) struct Pass {
    pub(super) plan: Arc<Plan>,
    graph: Arc<Graph>,
    chosen: Vec<String>,
    careful: bool,
    decoder: Decoder,
    raw: Arc<Table>,
    pub(super) rejected: Arc<Table>,
    pub(super) source: Source,
    memory: usize,
    env: Env,
    writer: EpochWriter,
    epoch: String,
    runners: BTreeMap<i32, (Anew, usize)>,
    /// Events of the hour that had been rejected because they could not be decoded, and stay so.
    pub(super) undecodable: HashSet<Event>,
    /// Events of the hour, outside of those that are made anew, that have rows in them now.
    pub(super) moved: HashSet<Event>,
    pub(super) made: Made,
    said: (Instant, Instant, UnboundedSender<String>),
}

impl Pass {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        config: &Config,
        lake: &Lake,
        program: &Program,
        plan: &Arc<Plan>,
        order: &Order,
        stores: Stores,
        careful: bool,
        said: UnboundedSender<String>,
    ) -> Result<Pass> {
        let topic = lake.log.view().topic().map(|topic| topic.name.clone()).unwrap_or_default();
        let source = Source {
            stores: lake.stores.clone(),
            env: lake.env.clone(),
            runtime: Handle::current(),
            rate: None,
        };
        Ok(Pass {
            plan: plan.clone(),
            graph: program.graph.clone(),
            chosen: order.transforms.clone(),
            careful,
            decoder: Decoder::new(program.graph.fields(), config.max_event_size),
            raw: Arc::new(table::raw(&topic)),
            rejected: Arc::new(table::rejected()),
            source,
            memory: order.memory,
            env: lake.env.clone(),
            writer: EpochWriter::new(stores, &lake.keys, 0, config.sink()),
            epoch: String::new(),
            runners: BTreeMap::new(),
            undecodable: HashSet::new(),
            moved: HashSet::new(),
            made: Made::default(),
            said: (Instant::now(), Instant::now(), said),
        })
    }

    /// Does all of it. What was finished is there after an error, too, to be thrown away.
    pub(super) fn run(mut self) -> (Made, Result<()>) {
        self.begin();
        let done = self.all();
        (self.made, done)
    }

    fn all(&mut self) -> Result<()> {
        let plan = self.plan.clone();
        let hours: BTreeMap<Hour, &[crate::commit::record::DataFile]> =
            plan.raw.iter().map(|(hour, files)| (*hour, files.as_slice())).collect();
        // Rejected events stand in the hours of their own times, so each hour has its own.
        let rejected = plan.old.keys().filter(|(table, _)| *table == self.rejected.name);
        let all: BTreeSet<Hour> =
            hours.keys().copied().chain(rejected.map(|(_, hour)| Hour(*hour))).collect();
        for hour in all {
            self.before(hour)?;
            let fresh = self.events(hour, hours.get(&hour).copied().unwrap_or_default())?;
            self.after(hour, fresh)?;
            if self.writer.files() >= FILES {
                self.finish()?;
                self.begin();
            }
        }
        for (partition, (mut runner, _)) in std::mem::take(&mut self.runners) {
            let flushed = runner.end(&self.plan.complete(partition))?;
            self.outcome(&flushed, None)?;
            for Done { identity, reads, tables, counts, .. } in runner.work() {
                Work::new(&identity, reads, tables, counts, None).add_to(&mut self.made.works);
            }
        }
        self.finish()
    }

    fn begin(&mut self) {
        self.epoch = self.env.fresh_id();
        self.writer.begin(&self.epoch, vec![("tidemill.reprocess".into(), "true".into())]);
    }

    fn finish(&mut self) -> Result<()> {
        let files = self.writer.finish(&[]).map_err(stored)?;
        self.made.files.extend(files.into_iter().map(|file| (self.epoch.clone(), file)));
        Ok(())
    }

    /// The events of an hour. Gives back how many of them are rejected now.
    fn events(&mut self, hour: Hour, files: &[crate::commit::record::DataFile]) -> Result<u64> {
        let (raw, source, mut fresh) = (self.raw.clone(), self.source.clone(), 0);
        let sorted = Sorted { table: &raw, files, memory: self.memory };
        sorted.read(&source, &mut |rows| {
            self.tell();
            fresh += self.rows(hour, &rows)?;
            Ok(())
        })?;
        let mut runners = std::mem::take(&mut self.runners);
        for (runner, since) in runners.values_mut() {
            *since = 0;
            let flushed = runner.flush()?;
            self.outcome(&flushed, None)?;
        }
        self.runners = runners;
        Ok(fresh)
    }

    /// Rows of the raw table, by partition. Gives back how many events are rejected now.
    fn rows(&mut self, hour: Hour, rows: &RecordBatch) -> Result<u64> {
        let odd = || Error::stop("a file of the raw zone lacks columns");
        let partitions = rows.column(1).as_primitive_opt::<Int32Type>().ok_or_else(odd)?;
        let offsets = rows.column(2).as_primitive_opt::<Int64Type>().ok_or_else(odd)?;
        let mut of: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for (row, partition) in (0_u32..).zip(partitions.values()) {
            let event = (*partition, offsets.value(row as usize));
            if self.undecodable.is_empty() || !self.undecodable.contains(&event) {
                of.entry(*partition).or_default().push(row);
            }
        }
        let mut rejected = 0;
        for (partition, at) in of {
            rejected += self.partition(hour, partition, delivered(rows, partition, at)?)?;
        }
        Ok(rejected)
    }

    fn partition(&mut self, hour: Hour, partition: i32, delivered: Delivered) -> Result<u64> {
        let delivered = Arc::new(delivered);
        let batch = self.decoder.decode(delivered.clone());
        self.made.events += delivered.len() as u64;
        self.made.undecoded += batch.rejects.len() as u64;
        if !self.plan.whole && !batch.rejects.is_empty() {
            let row = batch.rejects[0].row as usize;
            return Err(Error::stop(format!(
                "partition {partition}, offset {}: {}; it could be decoded before, so the other transforms have had it: \
                 make the tables of all transforms anew (without --transform)",
                delivered.offset.value(row),
                batch.rejects[0].reason
            )));
        }
        if !self.runners.contains_key(&partition) {
            let runner = Anew::open(&self.graph, partition, &self.chosen, self.careful)?;
            self.runners.insert(partition, (runner, 0));
        }
        let Some((runner, since)) = self.runners.get_mut(&partition) else { return Ok(0) };
        let mut outcomes = vec![runner.batch(&batch)?];
        *since += delivered.len();
        if *since >= DUE {
            *since = 0;
            outcomes.push(runner.flush()?);
        }
        let within = self.plan.within(hour);
        let mut rejected = 0;
        for outcome in &outcomes {
            self.outcome(outcome, Some(hour))?;
            if within && let Some(rows) = own::rejected(&self.rejected, &delivered, &outcome.rejects)? {
                rejected += rows.batch.num_rows() as u64;
                self.writer.write(&rows).map_err(stored)?;
            }
        }
        if within && let Some(rows) = own::rejected(&self.rejected, &delivered, &batch.rejects)? {
            rejected += rows.batch.num_rows() as u64;
            self.writer.write(&rows).map_err(stored)?;
        }
        Ok(rejected)
    }

    /// Writes the rows that lie in the hours. `from`: the hour that their events stand in, if they stem from events.
    fn outcome(&mut self, outcome: &Outcome, from: Option<Hour>) -> Result<()> {
        for rows in &outcome.rows {
            if let Some(from) = from {
                self.tardy(rows, from);
            }
            let Some(rows) = self.kept(rows)? else { continue };
            if from.is_some_and(|from| !self.plan.within(from))
                && let Some([partition, offset]) = Prints::columns(&rows.table.schema)
            {
                let partitions = rows.batch.column(partition).as_primitive::<Int32Type>();
                let offsets = rows.batch.column(offset).as_primitive::<Int64Type>();
                let events = partitions.values().iter().copied().zip(offsets.values().iter().copied());
                self.moved.extend(events);
                bounded(&self.moved)?;
            }
            self.writer.write(&rows).map_err(stored)?;
        }
        Ok(())
    }

    /// Notes the hours of rows that no portion reads.
    fn tardy(&mut self, rows: &Rows, from: Hour) {
        let times = rows.batch.column(rows.table.event_time).as_primitive_opt::<TimestampMicrosecondType>();
        for time in times.into_iter().flat_map(|times| times.values()) {
            let hour = Hour::of(*time);
            if hour < from && self.plan.misses(hour, from) {
                self.made.missed.insert(hour);
            }
        }
    }

    /// The rows that lie in the hours; none: there are none.
    fn kept(&self, rows: &Rows) -> Result<Option<Rows>> {
        let column = rows.batch.column(rows.table.event_time);
        let times = column.as_primitive_opt::<TimestampMicrosecondType>();
        let times = times.ok_or_else(|| {
            Error::stop(format!("rows of table `{}` have no event time; this is a bug", rows.table.name))
        })?;
        let within = self.plan.since.0.saturating_mul(HOUR)..self.plan.until.0.saturating_mul(HOUR);
        let keep: BooleanArray = times.values().iter().map(|time| Some(within.contains(time))).collect();
        let batch = match keep.true_count() {
            0 => return Ok(None),
            all if all == keep.len() => rows.batch.clone(),
            _ => filter_record_batch(&rows.batch, &keep).map_err(broken)?,
        };
        Ok(Some(Rows { table: rows.table.clone(), batch }))
    }

    /// Writes rows of rejected events that stay as they are.
    pub(super) fn keep(&mut self, batch: RecordBatch) -> Result<()> {
        self.writer.write(&Rows { table: self.rejected.clone(), batch }).map_err(stored)
    }

    fn tell(&mut self) {
        let (begun, last, said) = &mut self.said;
        if last.elapsed() < Duration::from_millis(200) {
            return;
        }
        *last = Instant::now();
        let (done, all) = (self.made.events, self.plan.events().max(1));
        let left = begun.elapsed().as_secs_f64() / done.max(1) as f64 * all.saturating_sub(done) as f64;
        let percent = 100 * done / all;
        // Nobody may listen any more.
        let _ = said.send(format!("{done} of {all} events ({percent} %), about {left:.0} s left"));
    }
}

/// An error if these are more events than are remembered.
pub(super) fn bounded(events: &HashSet<Event>) -> Result<()> {
    if events.len() <= MOST {
        return Ok(());
    }
    Err(Error::stop(format!(
        "more than {MOST} events of one hour have rows in other hours, or were rejected: take fewer hours"
    )))
}

/// Some rows of the raw table as Kafka delivered them.
fn delivered(rows: &RecordBatch, partition: i32, at: Vec<u32>) -> Result<Delivered> {
    let odd = || Error::stop("a file of the raw zone lacks columns");
    let all = at.len() == rows.num_rows();
    let at = UInt32Array::from(at);
    let pick = |column: usize| match all {
        true => Ok(rows.column(column).clone()),
        false => take(rows.column(column), &at, None).map_err(broken),
    };
    let topic = rows.column(0).as_string_opt::<i32>().ok_or_else(odd)?;
    let offset = Int64Array::from(pick(2)?.to_data());
    let ends = offset.values().iter().fold((i64::MAX, i64::MIN), |(a, b), o| (a.min(*o), b.max(*o)));
    Ok(Delivered {
        topic: if topic.is_empty() { "".into() } else { topic.value(0).into() },
        partition,
        from: ends.0,
        to: ends.1.saturating_add(1),
        offset,
        timestamp: TimestampMicrosecondArray::from(pick(3)?.to_data()),
        key: BinaryArray::from(pick(4)?.to_data()),
        value: BinaryArray::from(pick(5)?.to_data()),
        headers: pick(6)?.to_data().into(),
    })
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::stop(format!("events of the raw zone: {error}"))
}

//! One portion: the rows of some files, through the transforms into staged files. For a thread that may block.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Int64Array, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{filter_record_batch, take};

use super::pick::{Fate, NOT_ONE, Picked, Route, UNREAD};
use crate::batch::{Delivered, Outcome, Rows};
use crate::commit::record::Work;
use crate::config::Config;
use crate::decode::Decoder;
use crate::env::Env;
use crate::pipeline::offline::Lake;
use crate::pipeline::own;
use crate::pipeline::program::Program;
use crate::pipeline::stages::stored;
use crate::rejects::{Columns, Filter, Shaped, batches, shaped};
use crate::sink::{EpochWriter, Parts, PendingFile, Stores};
use crate::table::{self, REJECTED, Table};
use crate::transform::again::Again;
use crate::transform::graph::Graph;
use crate::transform::run::Done;
use crate::{Error, Result};

/// What a portion came to.
#[derive(Default)]
pub(super) struct Made {
    /// Rows that went through the transforms.
    pub(super) rows: u64,
    /// Rows of the files that stay as they were.
    pub(super) kept: u64,
    /// Those of them that were meant, by why they stay.
    pub(super) left: BTreeMap<String, u64>,
    pub(super) undecoded: u64,
    pub(super) again: u64,
    /// Rows by table of a transform.
    pub(super) tables: BTreeMap<String, u64>,
    pub(super) works: Vec<Work>,
    pub(super) files: Vec<PendingFile>,
}

/// Everything that a portion needs.
pub(super) struct Task {
    wanted: Filter,
    graph: Arc<Graph>,
    decoder: Decoder,
    rejected: Arc<Table>,
    /// Where the files lie.
    stores: Stores,
    env: Env,
    /// None: nothing is to be written.
    writer: Option<EpochWriter>,
    runners: BTreeMap<(Route, i32), Again>,
    made: Made,
}

impl Task {
    pub(super) fn new(
        lake: &Lake,
        config: &Config,
        wanted: &Filter,
        program: &Program,
        epoch: &str,
        dry: bool,
    ) -> Result<Task> {
        let writer = (!dry).then(|| {
            let mut writer = EpochWriter::new(lake.stores.clone(), &lake.keys, 0, config.sink());
            writer.begin(epoch, vec![("tidemill.replay".into(), "true".into())]);
            writer
        });
        Ok(Task {
            wanted: wanted.clone(),
            graph: program.graph.clone(),
            decoder: Decoder::new(program.graph.fields(), config.max_event_size),
            rejected: Arc::new(table::rejected()),
            stores: lake.stores.clone(),
            env: lake.env.clone(),
            writer,
            runners: BTreeMap::new(),
            made: Made::default(),
        })
    }

    pub(super) fn run(mut self, files: &[Picked]) -> Result<Made> {
        for picked in files {
            let file = &picked.file.file;
            let key = &file.key;
            let parts = Parts::new(self.stores.of(file.zone), &self.env, key, file.bytes)?;
            let unreadable = |why: String| Error::stop(format!("{key} cannot be read: {why}"));
            for batch in batches(parts, Columns::All, None).map_err(unreadable)? {
                let rows = shaped(&batch.map_err(|e| unreadable(e.to_string()))?).map_err(unreadable)?;
                self.rows(picked, &rows)?;
            }
        }
        for (_, mut again) in std::mem::take(&mut self.runners) {
            let flushed = again.flush()?;
            self.write(&flushed)?;
            for Done { identity, reads, tables, counts, .. } in again.work() {
                Work::new(&identity, reads, tables, counts, None).add_to(&mut self.made.works);
            }
        }
        if let Some(mut writer) = self.writer.take() {
            self.made.files = writer.finish(&[]).map_err(stored)?;
        }
        Ok(self.made)
    }

    fn rows(&mut self, picked: &Picked, rows: &Shaped) -> Result<()> {
        let whole =
            rows.whole.clone().ok_or_else(|| Error::stop("a file of rejected events lacks columns"))?;
        let mut stay = vec![true; rows.rows()];
        let mut groups: BTreeMap<(Route, i32), Vec<u32>> = BTreeMap::new();
        for (at, row) in (0..).zip(0..rows.rows()) {
            match picked.fate(&self.wanted, &self.graph, rows, row) {
                Fate::Other => {}
                Fate::Left(why) => self.left(why),
                Fate::Goes(route) => {
                    stay[row] = false;
                    groups.entry((route, rows.partition.value(row))).or_default().push(at);
                }
            }
        }
        for ((route, partition), at) in groups {
            for (row, why) in self.group(rows, route, partition, &at)? {
                self.left(why);
                stay[row as usize] = true;
            }
        }
        let kept = stay.iter().filter(|stays| **stays).count();
        self.made.kept += kept as u64;
        self.made.rows += (stay.len() - kept) as u64;
        if kept > 0 {
            let batch = filter_record_batch(&whole, &BooleanArray::from(stay)).map_err(broken)?;
            self.put(&Rows { table: self.rejected.clone(), batch })?;
        }
        Ok(())
    }

    fn left(&mut self, why: &str) {
        *self.made.left.entry(why.into()).or_default() += 1;
    }

    /// Runs rows of one partition. Gives back those that stay as they were.
    fn group(
        &mut self,
        rows: &Shaped,
        route: Route,
        partition: i32,
        at: &[u32],
    ) -> Result<Vec<(u32, &'static str)>> {
        let delivered = Arc::new(delivered(rows, partition, at)?);
        let mut batch = self.decoder.decode(delivered.clone());
        let mut stays = Vec::new();
        if route.is_some() {
            // As a reject of the decoder it would go to all transforms the next time, and they have had it.
            let unread = std::mem::take(&mut batch.rejects);
            stays.extend(unread.iter().map(|reject| (at[reject.row as usize], UNREAD)));
        }
        let place = (route.clone(), partition);
        if !self.runners.contains_key(&place) {
            let again = Again::open(&self.graph, partition, route.as_deref())?;
            self.runners.insert(place.clone(), again);
        }
        let Some(again) = self.runners.get_mut(&place) else { return Ok(stays) };
        let gone = again.batch(&batch)?;
        stays.extend(gone.left.iter().map(|event| (at[*event as usize], NOT_ONE)));
        self.made.undecoded += batch.rejects.len() as u64;
        self.write(&gone.outcome)?;
        for refused in [&batch.rejects, &gone.outcome.rejects] {
            if let Some(rows) = own::rejected(&self.rejected, &delivered, refused)? {
                self.made.again += rows.batch.num_rows() as u64;
                self.put(&rows)?;
            }
        }
        Ok(stays)
    }

    fn write(&mut self, outcome: &Outcome) -> Result<()> {
        outcome.rows.iter().try_for_each(|rows| self.put(rows))
    }

    fn put(&mut self, rows: &Rows) -> Result<()> {
        if rows.table.name != REJECTED {
            *self.made.tables.entry(rows.table.name.clone()).or_default() += rows.batch.num_rows() as u64;
        }
        match &mut self.writer {
            Some(writer) => writer.write(rows).map_err(stored),
            None => Ok(()),
        }
    }
}

/// Some rows as Kafka delivered them.
fn delivered(rows: &Shaped, partition: i32, at: &[u32]) -> Result<Delivered> {
    let at = UInt32Array::from(at.to_vec());
    let missing = || Error::stop("a file of rejected events lacks columns");
    let pick = |column: &dyn Array| take(column, &at, None).map_err(broken);
    let (key, value) = (rows.key.as_ref().ok_or_else(missing)?, rows.value.as_ref().ok_or_else(missing)?);
    let headers = rows.headers.as_ref().ok_or_else(missing)?;
    let offset = Int64Array::from(pick(&rows.offset)?.to_data());
    let (first, last) = offset.values().iter().fold((i64::MAX, i64::MIN), |(a, b), o| (a.min(*o), b.max(*o)));
    let topic = rows.topic.as_ref().ok_or_else(missing)?;
    let one = at.values().first().map_or(0, |row| *row as usize);
    Ok(Delivered {
        topic: topic.value(one).into(),
        partition,
        from: first,
        to: last.saturating_add(1),
        offset,
        timestamp: TimestampMicrosecondArray::from(pick(&rows.time)?.to_data()),
        key: pick(key)?.to_data().into(),
        value: pick(value)?.to_data().into(),
        headers: pick(headers)?.to_data().into(),
    })
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::stop(format!("rejected rows: {error}"))
}

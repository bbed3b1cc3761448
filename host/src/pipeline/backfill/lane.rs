//! A thread of a portion: events through the stages into files of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{BooleanArray, TimestampMicrosecondArray};
use arrow::compute::filter;
use crossbeam_channel::Receiver;

use super::times::Times;
use crate::batch::{Batch, Delivered, Outcome, Reject, Rows, Stage};
use crate::commit::record::Work;
use crate::commit::{LaneMemory, Memory};
use crate::decode::Decoder;
use crate::env::Micros;
use crate::pipeline::own;
use crate::pipeline::stages::stored;
use crate::sink::{EpochWriter, PendingFile};
use crate::table::{REJECTED, Table};
use crate::transform::event_time::Due;
use crate::transform::graph::Graph;
use crate::transform::run::{Done, Remembered, Runner};
use crate::{Error, Result};

/// Why a row is rejected that has no time.
const UNTIMED: &str = "it has no time that can be read";

/// Events for a lane.
pub(super) struct Job {
    /// Whose instances they are for.
    pub(super) lane: Arc<str>,
    pub(super) delivered: Delivered,
    /// Their times stand in a member.
    pub(super) plain: bool,
    /// Rows that are no events, with the reason.
    pub(super) wrong: Vec<(u32, String)>,
}

/// What is sent to a thread.
pub(super) enum Sent {
    Job(Box<Job>),
    /// There is no more in this portion.
    Finish(Ends),
}

/// What comes to its end with a portion: there windows close.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    /// Everything.
    pub(super) all: bool,
    /// These lanes.
    pub(super) lanes: std::collections::BTreeSet<String>,
}

impl Ends {
    fn has(&self, lane: &str) -> bool {
        self.all || self.lanes.contains(lane)
    }
}

/// What all threads of a portion have done so far.
#[derive(Default)]
pub(super) struct Load {
    /// Rows, and bytes of values.
    pub(super) rows: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Files, by thread the most.
    pub(super) files: AtomicU64,
}

/// How a thread works.
pub(super) struct Lane {
    pub(super) graph: Arc<Graph>,
    pub(super) largest: usize,
    /// The member with the time of plain rows.
    pub(super) time: String,
    /// What stands in for it.
    pub(super) now: Micros,
    pub(super) raw: Arc<Table>,
    pub(super) rejected: Arc<Table>,
    /// None: nothing is to be written.
    pub(super) writer: Option<EpochWriter>,
    /// Rows on which a transform fails are looked for.
    pub(super) careful: bool,
    /// Portions go on from each other: what is remembered is handed on.
    pub(super) chained: bool,
    /// What was remembered behind the portion before.
    pub(super) memories: BTreeMap<String, LaneMemory>,
    pub(super) load: Arc<Load>,
}

/// What a thread made.
#[derive(Default)]
pub(super) struct Made {
    pub(super) files: Vec<PendingFile>,
    pub(super) works: Vec<Work>,
    /// Rows by table of a transform.
    pub(super) tables: BTreeMap<String, u64>,
    /// Events that could not be decoded, or have no time.
    pub(super) undecoded: u64,
    /// Rows of the table of rejected events.
    pub(super) rejected: u64,
    /// Rejected rows by reason, as far as they are told apart.
    pub(super) reasons: BTreeMap<String, u64>,
    /// What is remembered, by lane.
    pub(super) memories: BTreeMap<String, LaneMemory>,
}

/// Reasons that are told apart.
const REASONS: usize = 100;

struct Worker {
    runner: Runner,
    decoder: Decoder,
}

impl Lane {
    /// Works until there is no more. After an error nothing of it may become true. None: it was not told that there is
    /// no more, because something else has failed.
    pub(super) fn run(mut self, jobs: &Receiver<Sent>) -> Result<Option<Made>> {
        let mut made = Made::default();
        let done = self.work(jobs, &mut made);
        if !matches!(done, Ok(true))
            && let Some(mut writer) = self.writer.take()
        {
            drop(writer.abandon());
        }
        done.map(|whole| whole.then_some(made))
    }

    fn work(&mut self, jobs: &Receiver<Sent>, made: &mut Made) -> Result<bool> {
        let mut times = Times::new(&self.time, self.largest);
        let mut workers: BTreeMap<Arc<str>, Worker> = BTreeMap::new();
        let mut ends = None;
        // Whoever sends drops the channel if it fails.
        for sent in jobs {
            match sent {
                Sent::Job(job) => {
                    if !workers.contains_key(&job.lane) {
                        let worker = self.worker(&job.lane)?;
                        workers.insert(job.lane.clone(), worker);
                    }
                    if let Some(worker) = workers.get_mut(&job.lane) {
                        self.events(*job, worker, &mut times, made)?;
                    }
                }
                Sent::Finish(last) => ends = Some(last),
            }
        }
        let Some(ends) = ends else { return Ok(false) };
        // Windows of lanes that had nothing in this portion close, too.
        let rest = self.memories.keys().filter(|lane| ends.has(lane) && !workers.contains_key(lane.as_str()));
        for lane in rest.cloned().collect::<Vec<_>>() {
            let worker = self.worker(&lane)?;
            workers.insert(lane.into(), worker);
        }
        for (lane, worker) in &mut workers {
            self.close(lane, worker, ends.has(lane) || !self.chained, made)?;
        }
        if let Some(writer) = &mut self.writer {
            made.files = writer.finish(&[]).map_err(stored)?;
        }
        Ok(true)
    }

    /// Instances for a lane, with what it remembers.
    fn worker(&self, lane: &str) -> Result<Worker> {
        let memory = self.memories.get(lane).cloned().unwrap_or_default();
        let states: Vec<Remembered> =
            memory.states.into_iter().map(|m| (m.transform, m.version, m.bytes)).collect();
        let mut runner = Runner::idle(&self.graph, 0);
        runner.remember(&states);
        runner.careful(self.careful);
        runner.patiently();
        runner.abandon()?;
        runner.stand(&memory.time);
        Ok(Worker { runner, decoder: Decoder::new(self.graph.fields(), self.largest) })
    }

    fn events(&mut self, job: Job, worker: &mut Worker, times: &mut Times, made: &mut Made) -> Result<()> {
        let Job { mut delivered, plain, wrong, .. } = job;
        let mut refused = wrong;
        if plain {
            delivered = self.timed(delivered, times, &mut refused);
        }
        let delivered = Arc::new(delivered);
        let rows = delivered.len() as u64;
        self.load.rows.fetch_add(rows, Ordering::Relaxed);
        self.load.bytes.fetch_add(delivered.value.value_data().len() as u64, Ordering::Relaxed);
        let raw = own::raw(&self.raw, &delivered)?;
        self.put(&raw, made)?;
        let batch = without(worker.decoder.decode(delivered.clone()), refused)?;
        let outcome = worker.runner.batch(&batch)?;
        made.undecoded += batch.rejects.len() as u64;
        self.write(&outcome, made)?;
        for rejects in [&batch.rejects, &outcome.rejects] {
            for reject in rejects {
                let known = made.reasons.len() < REASONS || made.reasons.contains_key(&*reject.reason);
                let reason = if known { &*reject.reason } else { "other reasons" };
                *made.reasons.entry(reason.into()).or_default() += 1;
            }
            if let Some(rows) = own::rejected(&self.rejected, &delivered, rejects)? {
                made.rejected += rows.batch.num_rows() as u64;
                self.put(&rows, made)?;
            }
        }
        if let Some(writer) = &self.writer {
            self.load.files.fetch_max(u64::from(writer.files()), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Gives rows the times that they say; those without are refused.
    fn timed(&self, delivered: Delivered, times: &mut Times, refused: &mut Vec<(u32, String)>) -> Delivered {
        let delivered = Arc::new(delivered);
        let read = times.read(&delivered);
        for (row, _) in (0u32..).zip(&read).filter(|(_, time)| time.is_none()) {
            if refused.iter().all(|(known, _)| *known != row) {
                refused.push((row, UNTIMED.into()));
            }
        }
        let read: TimestampMicrosecondArray = TimestampMicrosecondArray::from_iter_values(
            read.into_iter().map(|time| time.unwrap_or(self.now)),
        );
        // Nobody else has it any more: the decoder has let it go.
        let Delivered { topic, partition, from, to, offset, key, value, headers, .. } = &*delivered;
        Delivered {
            topic: topic.clone(),
            partition: *partition,
            from: *from,
            to: *to,
            offset: offset.clone(),
            timestamp: read.with_timezone("UTC"),
            key: key.clone(),
            value: value.clone(),
            headers: headers.clone(),
        }
    }

    /// What the transforms of a lane hand out at the end of the portion, and what they remember.
    fn close(&mut self, lane: &str, worker: &mut Worker, ends: bool, made: &mut Made) -> Result<()> {
        let runner = &mut worker.runner;
        let due = if ends { Due::End } else { Due::Rows(std::time::Duration::ZERO) };
        let flushed = runner.flush(due)?;
        self.write(&flushed, made)?;
        runner.snapshot()?;
        let mut memory = LaneMemory::default();
        for done in runner.take_work() {
            let Done { identity, reads, tables, counts, state, reached, .. } = done;
            memory.time.reached.extend(reached.map(|reached| (identity.name.clone(), reached)));
            let transform = identity.name.clone();
            memory.states.extend(state.map(|(version, bytes)| Memory { transform, version, bytes }));
            Work::new(&identity, reads, tables, counts, None).add_to(&mut made.works);
        }
        memory.time.newest = runner.newest();
        if !ends {
            made.memories.insert(lane.into(), memory);
        }
        Ok(())
    }

    fn write(&mut self, outcome: &Outcome, made: &mut Made) -> Result<()> {
        outcome.rows.iter().try_for_each(|rows| self.put(rows, made))
    }

    fn put(&mut self, rows: &Rows, made: &mut Made) -> Result<()> {
        let name = &rows.table.name;
        if *name != self.raw.name && name != REJECTED {
            *made.tables.entry(name.clone()).or_default() += rows.batch.num_rows() as u64;
        }
        match &mut self.writer {
            Some(writer) => writer.write(rows).map_err(stored),
            None => Ok(()),
        }
    }
}

/// A batch without events that are refused for reasons that the decoder does not know. What it refuses itself keeps its
/// own reason.
fn without(mut batch: Batch, refused: Vec<(u32, String)>) -> Result<Batch> {
    let known: std::collections::BTreeSet<u32> = batch.rejects.iter().map(|reject| reject.row).collect();
    let refused: BTreeMap<u32, String> =
        refused.into_iter().filter(|(row, _)| !known.contains(row)).collect();
    if refused.is_empty() {
        return Ok(batch);
    }
    let keep: BooleanArray = batch.rows.iter().map(|row| Some(!refused.contains_key(row))).collect();
    for column in &mut batch.columns {
        *column = filter(column, &keep).map_err(|e| Error::stop(format!("rows without a time: {e}")))?;
    }
    batch.rows.retain(|row| !refused.contains_key(row));
    batch.rejects.extend(refused.into_iter().map(|(row, reason)| Reject {
        row,
        stage: Stage::Decode,
        transform: None,
        reason: reason.into(),
    }));
    Ok(batch)
}

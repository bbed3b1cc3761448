//! One portion: what is read of sources, through threads that share nothing, into staged files. For a thread that may
//! block.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::DataType;
use crossbeam_channel::bounded;
use tokio::runtime::Handle;

use super::feed::{Feed, Out, Read, Stream, Take, thread_of};
use super::lane::{Ends, Lane, Load, Made, Sent};
use super::{Bounds, topic};
use crate::commit::LaneMemory;
use crate::env::{Env, Micros};
use crate::past::{File, Reader};
use crate::sink::{EpochWriter, Keys, Settings, Stores};
use crate::source;
use crate::table::Table;
use crate::transform::graph::Graph;
use crate::{Error, Result};

/// Batches that wait for a thread.
const WAITING: usize = 2;

/// What a portion is made with.
pub(super) struct Task {
    pub(super) graph: Arc<Graph>,
    pub(super) raw: Arc<Table>,
    pub(super) rejected: Arc<Table>,
    pub(super) stores: Stores,
    pub(super) keys: Keys,
    pub(super) env: Env,
    pub(super) settings: Settings,
    pub(super) threads: usize,
    /// A larger event is rejected.
    pub(super) largest: usize,
    /// The member with the time of plain rows.
    pub(super) time: String,
    /// What stands in for it.
    pub(super) now: Micros,
    pub(super) epoch: String,
    /// Nothing is to be written.
    pub(super) dry: bool,
    pub(super) careful: bool,
    pub(super) chained: bool,
    pub(super) memories: BTreeMap<String, LaneMemory>,
    pub(super) takes: Vec<Take>,
    /// Nothing of the chain over all files comes after these takes.
    pub(super) last: bool,
    /// For each partition whether its chain ends with its take.
    pub(super) ends: Vec<bool>,
    pub(super) bounds: Bounds,
    pub(super) stream: Stream,
    pub(super) load: Arc<Load>,
    pub(super) from: From,
}

/// Where the rows come from.
pub(super) enum From {
    /// Files, with what members must be; one of them was read up to somewhere.
    Files(Arc<Vec<File>>, Arc<BTreeMap<String, DataType>>, Option<(usize, Reader)>),
    /// The topic.
    Topic(Box<source::Settings>),
}

/// What came of a portion.
#[derive(Default)]
pub(super) struct Portion {
    pub(super) made: Made,
    pub(super) read: Read,
    /// The chains have come to their end.
    pub(super) ended: bool,
    /// The file that goes on.
    pub(super) reader: Option<(usize, Reader)>,
}

impl Task {
    /// Does it. Blocks.
    pub(super) fn run(mut self, runtime: &Handle) -> Result<Portion> {
        let threads = self.threads.max(1);
        let mut memories: Vec<BTreeMap<String, LaneMemory>> = vec![BTreeMap::new(); threads];
        for (lane, memory) in std::mem::take(&mut self.memories) {
            memories[thread_of(&lane, threads)].insert(lane, memory);
        }
        let lanes: Vec<Lane> =
            (0u32..).zip(memories).map(|(number, memories)| self.lane(number, memories)).collect();
        std::thread::scope(|scope| {
            let (mut senders, mut running) = (Vec::new(), Vec::new());
            for lane in lanes {
                let (send, jobs) = bounded(WAITING);
                senders.push(send);
                running.push(scope.spawn(move || {
                    // Guests print through the runtime.
                    let _within = runtime.enter();
                    lane.run(&jobs)
                }));
            }
            let read = self.feed(senders, runtime);
            let mut portion = Portion::default();
            let mut failure = None;
            for thread in running {
                let done = thread.join().map_err(|_| Error::stop("a thread panicked; this is a bug"));
                match done.and_then(|done| done) {
                    Ok(made) => made.into_iter().for_each(|made| join(&mut portion.made, made)),
                    Err(e) => failure = failure.or(Some(e)),
                }
            }
            // Who reads fails if a thread has ended: that one says why.
            let read = match (failure, read) {
                (Some(e), _) | (None, Err(e)) => return Err(give_up(portion, runtime, e)),
                (None, Ok(read)) => read,
            };
            (portion.read, portion.ended) = read;
            if let From::Files(_, _, reader) = &mut self.from {
                portion.reader = reader.take();
            }
            Ok(portion)
        })
    }

    fn lane(&self, number: u32, memories: BTreeMap<String, LaneMemory>) -> Lane {
        let writer = (!self.dry).then(|| {
            let mut writer = EpochWriter::new(self.stores.clone(), &self.keys, number, self.settings.clone());
            writer.begin(&self.epoch, vec![("tidemill.backfill".into(), "true".into())]);
            writer
        });
        Lane {
            graph: self.graph.clone(),
            largest: self.largest,
            time: self.time.clone(),
            now: self.now,
            raw: self.raw.clone(),
            rejected: self.rejected.clone(),
            writer,
            careful: self.careful,
            chained: self.chained,
            memories,
            load: self.load.clone(),
        }
    }

    /// Reads, and tells the threads when there is no more.
    fn feed(
        &mut self,
        threads: Vec<crossbeam_channel::Sender<Sent>>,
        runtime: &Handle,
    ) -> Result<(Read, bool)> {
        // What lies in a bucket is read through the runtime.
        let _within = runtime.enter();
        let out = Out::new(threads, self.chained);
        let read = match &mut self.from {
            From::Files(files, types, reader) => {
                let (stream, bounds, load) = (&self.stream, &self.bounds, &*self.load);
                let mut feed =
                    Feed { files, types, reader, stream, bounds, load, out: out.clone(), rows: 0, bytes: 0 };
                feed.read(&self.takes)?
            }
            From::Topic(settings) => {
                topic::read(settings, &self.env, &self.takes, &self.bounds, &self.load, &out)?
            }
        };
        let whole = self.last && read.whole;
        let done =
            |take: &Take| read.parts.iter().any(|part| part.source == take.source && part.to == take.to);
        let over = self.takes.iter().zip(&self.ends).filter(|(take, last)| **last && done(take));
        let ends = Ends { all: whole, lanes: over.map(|(take, _)| take.name.clone()).collect() };
        for thread in &out.threads {
            // It says itself why it has ended.
            let _ = thread.send(Sent::Finish(ends.clone()));
        }
        Ok((read, whole))
    }
}

/// Throws away what some threads have finished.
fn give_up(portion: Portion, runtime: &Handle, error: Error) -> Error {
    for file in portion.made.files {
        // What is left is clean-up's.
        let _ = runtime.block_on(file.discard());
    }
    error
}

fn join(all: &mut Made, made: Made) {
    all.files.extend(made.files);
    made.works.iter().for_each(|work| work.add_to(&mut all.works));
    for (table, rows) in made.tables {
        *all.tables.entry(table).or_default() += rows;
    }
    for (reason, rows) in made.reasons {
        *all.reasons.entry(reason).or_default() += rows;
    }
    all.undecoded += made.undecoded;
    all.rejected += made.rejected;
    all.memories.extend(made.memories);
}

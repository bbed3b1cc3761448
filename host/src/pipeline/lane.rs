//! A lane: a thread that owns some partitions. It polls, decodes, transforms and encodes them, and
//! shares nothing.
//!
//! The life of an epoch in a lane: fill it, finish it at the barrier and send it up, fill the next one
//! while the committer makes it true, learn the verdict. When something fails, the lane waits for that
//! verdict, then drops what it has, opens its instances as of the last commit and goes back to its
//! offsets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::mpsc::UnboundedSender;

use super::stages::{Stages, stored};
use crate::batch::{Delivered, Span};
use crate::commit::{Base, Memory, Order, Part, Progress, TransformWork, Up, Verdict};
use crate::env::Env;
use crate::source::{Collector, Group, Polled, Queue, Taken};
use crate::transform::graph::Graph;
use crate::transform::run::{Done, Remembered, Runner};
use crate::{Error, Kind, Result};

/// What a lane is told.
pub(super) enum Command {
    /// Own this partition from now on; it stands where its base says.
    Take(Taken, Base),
    /// From the committer.
    Order(Order),
}

/// Events wait at most so long for their batch to fill.
const LINGER: Duration = Duration::from_millis(50);
/// How long a lane sleeps when there is nothing to do.
const NAP: Duration = Duration::from_millis(10);
/// An epoch is asked to end at so many files: event times may be spread over any number of hours.
const FILES: u32 = 2000;
/// A transform that fails so often in a row, without a commit between, needs a person.
const FAILURES: u32 = 5;

/// Everything a lane owns.
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) env: Env,
    pub(super) topic: Arc<str>,
    pub(super) group: Group,
    pub(super) graph: Arc<Graph>,
    pub(super) stages: Stages,
    /// An epoch is asked to end at so many events, whatever the interval.
    pub(super) most_events: u64,
    /// … or so many bytes of files.
    pub(super) most_bytes: u64,
    pub(super) commands: Receiver<Command>,
    pub(super) up: UnboundedSender<Up>,
    pub(super) state: State,
}

/// What changes while a lane runs.
#[derive(Default)]
pub(super) struct State {
    partitions: BTreeMap<i32, Owned>,
    /// The open epoch; none: nothing was written since the last barrier.
    epoch: Option<String>,
    events: u64,
    rejects: BTreeMap<String, u64>,
    /// A part is with the committer: its spans.
    under_way: Option<Vec<Span>>,
    asked: bool,
    failed: Option<Failure>,
    /// Failures in a row, without a commit between: the more, the longer the pause.
    failures: u32,
    /// Those of them that were a transform's.
    faults: u32,
}

struct Failure {
    error: Error,
    again: Instant,
}

/// A partition of this lane.
struct Owned {
    queue: Queue,
    collector: Collector,
    runner: Runner,
    /// Where to go back to; the states are with the runner.
    committed: i64,
    /// The record that this is from.
    prev: Option<u64>,
    span: Option<Span>,
    /// Events of the span that could not be decoded.
    undecoded: u64,
    /// The next offset is gone from the topic: nothing is polled until somebody says where to go on.
    gone: bool,
}

impl Owned {
    fn stand(&mut self, base: &Base) {
        (self.committed, self.prev, self.gone) = (base.at, base.prev, false);
        self.runner.remember(&remembered(base));
    }
}

pub(super) fn remembered(base: &Base) -> Vec<Remembered> {
    base.states.iter().map(|m| (m.transform.clone(), m.version, m.bytes.clone())).collect()
}

impl Lane {
    /// Runs until it is told to stop, or until a person is needed.
    pub(super) fn run(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) if matches!(e.kind(), Kind::Stop | Kind::Usage) => {
                    return self.say(Up::Fatal(e));
                }
                Err(e) => self.fail(e),
            }
        }
        self.stages.writer.abandon();
    }

    fn say(&self, up: Up) {
        // The committer is gone only when the host ends; then nobody needs to know.
        let _ = self.up.send(up);
    }

    /// One round: orders first, then a batch. False: the end.
    fn turn(&mut self) -> Result<bool> {
        while let Ok(command) = self.commands.try_recv() {
            if !self.obey(command)? {
                return Ok(false);
            }
        }
        self.recover()?;
        let idle = self.state.partitions.is_empty() || self.state.failed.is_some() || self.full();
        if idle || !self.poll()? {
            return match self.commands.recv_timeout(NAP) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => Ok(true),
                Err(RecvTimeoutError::Disconnected) => Ok(false),
            };
        }
        Ok(true)
    }

    /// The epoch is as large as it may get: ask for a commit, once, and wait.
    fn full(&mut self) -> bool {
        let room = self.stages.writer.files() < FILES && self.stages.writer.bytes() < self.most_bytes;
        if self.state.events < self.most_events && room {
            return false;
        }
        if !std::mem::replace(&mut self.state.asked, true) {
            self.say(Up::Full);
        }
        true
    }

    fn obey(&mut self, command: Command) -> Result<bool> {
        match command {
            Command::Take(taken, base) => self.take(taken, &base)?,
            Command::Order(Order::Stop) => return Ok(false),
            Command::Order(Order::Barrier { release }) => self.barrier(&release),
            Command::Order(Order::Verdict(verdict)) => self.verdict(verdict),
            Command::Order(Order::Lose(partitions)) => self.lose(&partitions),
            Command::Order(Order::Move(bases)) => {
                if self.stand(&bases) {
                    self.fail(Error::retry("the log has moved on"));
                }
            }
        }
        Ok(true)
    }

    /// Takes partitions to where the log says that they are. False: none of them is ours.
    fn stand(&mut self, bases: &[Base]) -> bool {
        let mut any = false;
        for base in bases {
            self.forget(base.partition);
            if let Some(owned) = self.state.partitions.get_mut(&base.partition) {
                owned.stand(base);
                any = true;
            }
        }
        any
    }

    /// The verdict on what was done for a partition before does not concern it any more: where it stands now was
    /// read from the log.
    fn forget(&mut self, partition: i32) {
        if let Some(spans) = &mut self.state.under_way {
            spans.retain(|span| span.partition != partition);
        }
    }

    fn take(&mut self, taken: Taken, base: &Base) -> Result<()> {
        let Taken { partition, from, queue } = taken;
        // If it was not given up in order, what was done for it stands in the open epoch.
        self.lose(&[partition]);
        let collector = Collector::new(self.env.clone(), self.topic.clone(), partition, from);
        let runner = Runner::open(&self.graph, partition, &remembered(base))
            .map_err(|e| Error::stop(format!("cannot begin partition {partition}: {e}")))?;
        let (prev, span) = (base.prev, None);
        let owned =
            Owned { queue, collector, runner, committed: from, prev, span, undecoded: 0, gone: false };
        self.state.partitions.insert(partition, owned);
        Ok(())
    }

    /// Polls each partition for what is there. False: there was nothing.
    fn poll(&mut self) -> Result<bool> {
        let mut found = false;
        let partitions: Vec<i32> = self.state.partitions.keys().copied().collect();
        for partition in partitions {
            let Some(owned) = self.state.partitions.get_mut(&partition) else { continue };
            while !owned.gone && !owned.collector.full() {
                match owned.queue.poll(Duration::ZERO, &mut owned.collector)? {
                    Polled::Message => found = true,
                    Polled::Nothing => break,
                    Polled::Gone => {
                        owned.gone = true;
                        // The committer is gone only when the host ends.
                        let _ = self.up.send(Up::Gone { partition });
                    }
                }
            }
            let due = owned.collector.since().is_some_and(|since| since.elapsed() >= LINGER);
            if owned.collector.full() || due {
                self.flow(partition)?;
            }
        }
        Ok(found)
    }

    /// Takes what was collected of a partition through the stages.
    fn flow(&mut self, partition: i32) -> Result<()> {
        let Some(owned) = self.state.partitions.get_mut(&partition) else { return Ok(()) };
        let Some(delivered) = owned.collector.take() else { return Ok(()) };
        if self.state.epoch.is_none() {
            let id = self.env.fresh_id();
            self.stages.writer.begin(&id, vec![]);
            self.state.epoch = Some(id);
        }
        let mut span = owned.span;
        let events = extend(&mut span, &delivered);
        owned.undecoded += self.stages.flow(delivered, &mut owned.runner, &mut self.state.rejects)?;
        owned.span = span;
        self.state.events += events;
        Ok(())
    }

    /// Finishes the epoch and sends it up, whatever happens: the committer waits for it.
    fn barrier(&mut self, release: &[i32]) {
        let epoch = self.state.epoch.clone().unwrap_or_default();
        let mut part =
            Part { lane: self.number, epoch, partitions: vec![], files: vec![], rejects: BTreeMap::new() };
        if self.state.failed.is_none()
            && let Err(e) = self.finish(&mut part)
        {
            if matches!(e.kind(), Kind::Stop | Kind::Usage) {
                return self.say(Up::Fatal(e));
            }
            // Nothing of it may become true.
            (part.partitions, part.files) = (vec![], vec![]);
            self.fail(e);
        }
        for partition in release {
            self.state.partitions.remove(partition);
        }
        self.state.under_way = Some(part.partitions.iter().map(|progress| progress.span).collect());
        self.say(Up::Part(part));
    }

    fn finish(&mut self, part: &mut Part) -> Result<()> {
        let partitions: Vec<i32> = self.state.partitions.keys().copied().collect();
        for partition in &partitions {
            self.flow(*partition)?;
        }
        if self.state.epoch.is_none() {
            return Ok(());
        }
        let mut progress = Vec::new();
        for owned in self.state.partitions.values_mut() {
            let Some(span) = owned.span else { continue };
            self.stages.flush(&mut owned.runner)?;
            owned.runner.snapshot()?;
            let works = owned.runner.take_work().into_iter().map(work).collect();
            let undecoded = std::mem::take(&mut owned.undecoded);
            progress.push(Progress { span, prev: owned.prev, undecoded, works });
        }
        let spans: Vec<Span> = self.state.partitions.values_mut().filter_map(|o| o.span.take()).collect();
        let footer = self.footer(&spans);
        part.epoch = self.state.epoch.take().unwrap_or_default();
        part.files = self.stages.writer.finish(&footer).map_err(stored)?;
        part.partitions = progress;
        part.rejects = std::mem::take(&mut self.state.rejects);
        (self.state.events, self.state.asked) = (0, false);
        Ok(())
    }

    /// What every file of the epoch says of itself.
    fn footer(&self, spans: &[Span]) -> Vec<(String, String)> {
        let offsets: BTreeMap<String, [i64; 2]> =
            spans.iter().map(|s| (s.partition.to_string(), [s.from, s.to])).collect();
        let transforms: BTreeMap<&str, &str> =
            self.graph.components().map(|c| (c.identity.name.as_str(), c.identity.digest.as_str())).collect();
        vec![
            ("tidemill.topic".into(), self.topic.to_string()),
            ("tidemill.offsets".into(), serde_json::json!(offsets).to_string()),
            ("tidemill.transforms".into(), serde_json::json!(transforms).to_string()),
        ]
    }

    fn verdict(&mut self, verdict: Verdict) {
        let spans = self.state.under_way.take().unwrap_or_default();
        match verdict {
            Verdict::Empty => {}
            Verdict::Committed(seq) => {
                (self.state.failures, self.state.faults) = (0, 0);
                for span in spans {
                    if let Some(owned) = self.state.partitions.get_mut(&span.partition) {
                        (owned.committed, owned.prev) = (span.to, Some(seq));
                        owned.runner.committed();
                    }
                }
            }
            // The committer has said why.
            Verdict::Abandon(bases) => {
                self.stand(&bases);
                self.fail(Error::retry("the last epoch could not be committed"));
            }
        }
    }

    fn lose(&mut self, partitions: &[i32]) {
        partitions.iter().for_each(|partition| self.forget(*partition));
        let before = self.state.partitions.len();
        self.state.partitions.retain(|p, _| !partitions.contains(p));
        // Their rows stand in the same files as those of the others.
        if self.state.partitions.len() < before && self.state.epoch.is_some() {
            self.fail(Error::retry(format!("partitions {partitions:?} were lost")));
        }
    }

    /// Notes a failure. The first reason counts until the lane has recovered.
    fn fail(&mut self, error: Error) {
        if self.state.failed.is_some() {
            return;
        }
        self.state.failures += 1;
        self.state.faults += u32::from(error.kind() == Kind::Abandon);
        if self.state.faults >= FAILURES {
            let reason = format!("{error}; tried {FAILURES} times from the last commit");
            // Nothing more is polled into the half-written epoch while the host ends.
            let again = Instant::now() + Duration::from_secs(3600);
            self.state.failed = Some(Failure { error, again });
            return self.say(Up::Fatal(Error::stop(reason)));
        }
        let pause = Duration::from_millis(200) * 2u32.pow(self.state.failures.min(5));
        self.state.failed = Some(Failure { error, again: Instant::now() + pause });
    }

    /// The one way back: to the last commit.
    fn recover(&mut self) -> Result<()> {
        let Some(failure) = &self.state.failed else { return Ok(()) };
        if self.state.under_way.is_some() || Instant::now() < failure.again {
            return Ok(());
        }
        let error = self.state.failed.take().map(|f| f.error);
        self.stages.writer.abandon();
        self.state.epoch = None;
        (self.state.events, self.state.asked) = (0, false);
        self.state.rejects.clear();
        for (partition, owned) in &mut self.state.partitions {
            (owned.span, owned.undecoded) = (None, 0);
            owned.runner.abandon()?;
            owned.collector.reset(owned.committed);
            self.group.seek(*partition, owned.committed)?;
        }
        if let Some(error) = error {
            self.say(Up::Abandoned { lane: self.number, error });
        }
        Ok(())
    }
}

fn work(done: Done) -> TransformWork {
    let Done { identity, reads, tables, counts, state } = done;
    let transform = identity.name.clone();
    let state = state.map(|(version, bytes)| Memory { transform, version, bytes });
    TransformWork { identity, reads, tables, counts, state }
}

/// Takes a batch into a span; how many events it has.
fn extend(span: &mut Option<Span>, delivered: &Delivered) -> u64 {
    let oldest = delivered.timestamp.values().iter().copied().min();
    let events = delivered.len() as u64;
    match span {
        Some(span) => {
            span.to = delivered.to;
            span.events += events;
            span.oldest = span.oldest.into_iter().chain(oldest).min();
        }
        None => {
            let Delivered { partition, from, to, .. } = *delivered;
            *span = Some(Span { partition, from, to, oldest, events });
        }
    }
    events
}

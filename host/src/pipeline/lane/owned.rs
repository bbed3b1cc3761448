//! A partition of a lane.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Lane, Program, remembered};
use crate::Result;
use crate::batch::{Delivered, Span};
use crate::commit::Base;
use crate::decode::Decoder;
use crate::source::{Collector, Group, Queue, Taken};
use crate::transform::run::Runner;

/// Who asks less often than this does not know that nothing came.
const ASKED: Duration = Duration::from_secs(1);

/// A partition of this lane.
pub(super) struct Owned {
    pub(super) queue: Queue,
    pub(super) collector: Collector,
    pub(super) worker: Worker,
    /// Where to go back to; the states are with the runner.
    pub(super) committed: i64,
    /// The record that this is from.
    pub(super) prev: Option<u64>,
    pub(super) span: Option<Span>,
    /// Events of the span that could not be decoded.
    pub(super) undecoded: u64,
    /// The next offset is gone from the topic: nothing is polled until somebody says where to go on.
    pub(super) gone: bool,
    /// When there was nothing to poll, first and last; none: there was, or nobody has asked for a while.
    pub(super) quiet: Option<(Instant, Instant)>,
    /// No program that it could run: nothing is polled until there is one.
    pub(super) paused: bool,
    /// The set that it would not go over to.
    pub(super) refused: Option<u64>,
    /// Faults of transforms in a row for which there is no row to blame.
    pub(super) faults: u32,
    /// Epochs in a row without a poison row.
    pub(super) calm: u32,
    /// Times in a row that rows failed together and none of them by itself.
    pub(super) in_vain: u32,
}

/// A program at work for one partition.
pub(super) struct Worker {
    pub(super) program: Arc<Program>,
    pub(super) decoder: Decoder,
    pub(super) runner: Runner,
}

impl Worker {
    pub(super) fn new(program: &Arc<Program>, runner: Runner, largest: usize) -> Worker {
        let decoder = Decoder::new(program.graph.fields(), largest);
        Worker { program: program.clone(), decoder, runner }
    }
}

impl Owned {
    /// A partition that stands at its base, with no instance open yet.
    pub(super) fn new(taken: Taken, base: &Base, lane: &Lane) -> Owned {
        let Taken { partition, from, queue } = taken;
        let mut runner = Runner::idle(&lane.program.graph, partition);
        runner.remember(&remembered(base));
        runner.stand(&base.time);
        Owned {
            queue,
            collector: Collector::new(lane.env.clone(), lane.topic.clone(), partition, from, lane.batch),
            worker: Worker::new(&lane.program, runner, lane.largest),
            committed: from,
            prev: base.prev,
            span: None,
            undecoded: 0,
            gone: false,
            quiet: None,
            paused: false,
            refused: None,
            faults: 0,
            calm: 0,
            in_vain: 0,
        }
    }

    /// From now on the last commit is this one; it takes effect when the lane recovers.
    pub(super) fn stand(&mut self, base: &Base) {
        (self.committed, self.prev, self.gone) = (base.at, base.prev, false);
        self.worker.runner.remember(&remembered(base));
        self.worker.runner.stand(&base.time);
    }

    /// Goes back to the last commit: what had come since comes again.
    pub(super) fn go_back(&mut self, partition: i32, group: &Group) -> Result<()> {
        self.quiet = None;
        self.collector.reset(self.committed);
        group.seek(&mut self.queue, partition, self.committed)
    }

    /// How long nothing has come, and nothing was there to come.
    pub(super) fn idle(&self) -> Duration {
        self.quiet.map(|(first, last)| last.duration_since(first)).unwrap_or_default()
    }

    /// There was nothing to poll. Between two of these somebody must have gone on asking: what came while nobody did
    /// may wait.
    pub(super) fn nothing(&mut self, now: Instant) {
        let asked = self.quiet.filter(|(_, last)| now.duration_since(*last) < ASKED);
        self.quiet = Some((asked.map_or(now, |(first, _)| first), now));
    }

    /// What an epoch accounts for: what was delivered, or, where the clock may make something due, nothing.
    pub(super) fn accounts(&self, partition: i32) -> Option<Span> {
        let due = self.quiet.is_some() && !self.stands_still() && self.worker.runner.timed();
        let (from, to) = (self.committed, self.committed);
        self.span.or_else(|| due.then_some(Span { partition, from, to, oldest: None, events: 0 }))
    }

    pub(super) fn stands_still(&self) -> bool {
        self.gone || self.paused
    }
}

/// Takes a batch into a span; how many events it has.
pub(super) fn extend(span: &mut Option<Span>, delivered: &Delivered) -> u64 {
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

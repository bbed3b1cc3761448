//! A lane: a thread that owns some partitions. It polls, decodes, transforms and encodes them, and
//! shares nothing.
//!
//! The life of an epoch in a lane: fill it, finish it at the barrier and send it up, fill the next one
//! while the committer makes it true, learn the verdict (`epoch.rs`). When something fails, the lane waits for that
//! verdict, then drops what it has, opens its instances as of the last commit and goes back to its
//! offsets (`trouble.rs`). Between two epochs a partition can go over to another program (`swap.rs`).

mod epoch;
mod owned;
mod swap;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::mpsc::UnboundedSender;

use super::program::{Broken, Program};
use super::share::Share;
use super::stages::Stages;
use crate::batch::Span;
use crate::commit::{Base, Order, Up};
use crate::env::Env;
use crate::observe::Board;
use crate::source::{Group, Polled, Taken};
use crate::transform::run::Remembered;
use crate::{Error, Kind, Result};
use owned::Owned;
use trouble::Failure;

/// What a lane is told.
pub(super) enum Command {
    /// Own this partition from now on; it stands where its base says.
    Take(Taken, Base),
    /// From the committer.
    Order(Order),
    /// Go over to this program, each partition between two of its epochs.
    Swap(Arc<Program>),
    /// A partition that stands still goes on with this program, if it can.
    FallBack(i32, Arc<Program>),
}

/// Events wait at most so long for their batch to fill.
const LINGER: Duration = Duration::from_millis(50);
/// How long a lane sleeps when there is nothing to do.
const NAP: Duration = Duration::from_millis(10);
/// … and when it has no partition: then only a command brings work. There may be many such lanes.
const REST: Duration = Duration::from_secs(1);
/// An epoch is asked to end at so many files: event times may be spread over any number of hours.
const FILES: u32 = 2000;

/// Everything a lane owns.
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) env: Env,
    pub(super) topic: Arc<str>,
    pub(super) group: Group,
    /// What partitions begin with.
    pub(super) program: Arc<Program>,
    pub(super) stages: Stages,
    /// What it may hold of the lanes' memory.
    pub(super) share: Arc<Share>,
    /// Larger events are rejected.
    pub(super) largest: usize,
    /// A batch is full at so many bytes.
    pub(super) batch: usize,
    /// An epoch is asked to end at so many events, whatever the interval.
    pub(super) most_events: u64,
    /// … or so many bytes of files.
    pub(super) most_bytes: u64,
    pub(super) commands: Receiver<Command>,
    pub(super) up: UnboundedSender<Up>,
    pub(super) broken: UnboundedSender<Broken>,
    pub(super) board: Arc<Board>,
    pub(super) state: State,
}

/// What changes while a lane runs.
#[derive(Default)]
pub(super) struct State {
    partitions: BTreeMap<i32, Owned>,
    /// It has some, and takes part in the lanes' memory.
    works: bool,
    /// The open epoch; none: nothing was written since the last barrier.
    epoch: Option<String>,
    events: u64,
    rejects: BTreeMap<String, u64>,
    /// A part is with the committer: its spans.
    under_way: Option<Vec<Span>>,
    asked: bool,
    failed: Option<Failure>,
    /// Programs that partitions go back to when the lane has recovered.
    fallbacks: BTreeMap<i32, Arc<Program>>,
    /// Failures in a row, without a commit between: the more, the longer the pause.
    failures: u32,
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
        self.bound();
        let busy = self.state.failed.is_some() || self.full();
        if busy {
            // Who does not ask does not know whether there is anything.
            self.state.partitions.values_mut().for_each(|owned| owned.quiet = None);
        }
        if self.state.partitions.is_empty() || busy || !self.poll()? {
            let idle = self.state.partitions.is_empty() && !busy;
            return match self.commands.recv_timeout(if idle { REST } else { NAP }) {
                Ok(command) => self.obey(command),
                Err(RecvTimeoutError::Timeout) => Ok(true),
                Err(RecvTimeoutError::Disconnected) => Ok(false),
            };
        }
        Ok(true)
    }

    /// Takes part in the lanes' memory as long as there are partitions.
    fn bound(&mut self) {
        let works = !self.state.partitions.is_empty();
        if std::mem::replace(&mut self.state.works, works) != works {
            self.share.works(works);
        }
        self.stages.writer.bound(self.share.bytes());
    }

    /// Whether the epoch is as large as it may get: then the lane waits. A commit is asked for, once, if it is, or if
    /// memory is short.
    fn full(&mut self) -> bool {
        let writer = &self.stages.writer;
        let room = writer.files() < FILES && writer.bytes() < self.most_bytes;
        let full = !room || self.state.events >= self.most_events;
        if (full || writer.pressed()) && !std::mem::replace(&mut self.state.asked, true) {
            self.say(Up::Full);
        }
        full
    }

    fn obey(&mut self, command: Command) -> Result<bool> {
        match command {
            Command::Take(taken, base) => self.take(taken, &base),
            Command::Swap(program) => self.program = program,
            Command::FallBack(partition, program) => self.fall_back(partition, &program)?,
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

    fn take(&mut self, taken: Taken, base: &Base) {
        let partition = taken.partition;
        // If it was not given up in order, what was done for it stands in the open epoch.
        self.lose(&[partition]);
        let owned = Owned::new(taken, base, self);
        self.state.partitions.insert(partition, owned);
        self.open(partition);
    }

    /// Polls each partition for what is there. False: there was nothing.
    fn poll(&mut self) -> Result<bool> {
        let mut found = false;
        let partitions: Vec<i32> = self.state.partitions.keys().copied().collect();
        for partition in partitions {
            let Some(owned) = self.state.partitions.get_mut(&partition) else { continue };
            while !owned.stands_still() && !owned.collector.full() {
                match owned.queue.poll(Duration::ZERO, &mut owned.collector)? {
                    Polled::Messages => (found, owned.quiet) = (true, None),
                    Polled::Nothing => {
                        owned.nothing(Instant::now());
                        break;
                    }
                    Polled::Trouble | Polled::End => {
                        owned.quiet = None;
                        let position = owned.collector.position();
                        self.group.seek(&mut owned.queue, partition, position)?;
                        break;
                    }
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
                if self.state.failed.is_some() {
                    break;
                }
            }
        }
        Ok(found)
    }
}

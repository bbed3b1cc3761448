//! The partitions that are fetched: where each goes on, which broker leads it, and what waits for its lane.
//!
//! A thread asks which brokers lead (`cluster.rs`), one thread for each of them fetches (`broker.rs`), lanes take what
//! came. All meet here, under one lock that is never held while anybody waits for a broker.
//!
//! A partition that is taken back to an offset, or taken anew, gets another *turn*: what was asked for in an earlier one
//! is thrown away when it comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::client::Settings;
use super::fetch::{Answered, Asked};
use super::limits::Limits;
use super::records::Chunk;
use super::security::Security;
use super::{broker, cluster};
use crate::{Error, Result};

/// A partition that a broker has no answer for is left alone for so long.
pub(super) const REST: Duration = Duration::from_millis(100);
/// … and one that it refuses.
const REFUSED: Duration = Duration::from_millis(500);
/// Where a broker listens that is named without it.
const PORT: u16 = 9092;
/// The least that is asked for: a batch comes whole, however little room there is.
const LEAST: usize = 64 << 10;

/// Fetches partitions of a topic. When it is dropped its threads end.
pub(in super::super) struct Fetcher(Arc<Shared>);

impl Fetcher {
    /// Asks nobody yet. An error of the kind [`Usage`](crate::Kind::Usage): a property that is librdkafka's alone.
    pub(in super::super) fn new(settings: &Settings) -> Result<Fetcher> {
        Ok(Fetcher(Arc::new(Shared {
            topic: settings.topic.clone(),
            bootstrap: settings.brokers.split(',').map(address).collect(),
            security: Security::of(settings)?,
            limits: Limits::of(settings)?,
            state: Mutex::default(),
            changed: Condvar::new(),
        })))
    }

    /// Begins to fetch a partition.
    pub(in super::super) fn take(&self, partition: i32, from: i64) -> Result<Feed> {
        let mut state = self.0.state();
        if !std::mem::replace(&mut state.led, true) {
            let shared = self.0.clone();
            spawn("kafka-leaders", move || cluster::run(&shared))?;
        }
        let turn = state.turn();
        let leader =
            state.leaders.get(&partition).copied().filter(|leader| state.served.contains(&leader.broker));
        state.stale |= leader.is_none();
        state.partitions.insert(partition, Partition { leader, ..Partition::new(from, turn) });
        self.0.changed.notify_all();
        Ok(Feed { shared: self.0.clone(), partition, first: turn })
    }

    /// Takes a partition to an offset. Nothing that was fetched before comes any more.
    pub(in super::super) fn seek(&self, partition: i32, offset: i64) {
        let mut state = self.0.state();
        let turn = state.turn();
        if let Some(old) = state.partitions.get_mut(&partition) {
            let (first, leader, rest) = (old.first, old.leader, old.rest);
            *old = Partition { first, leader, rest, ..Partition::new(offset, turn) };
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
impl Fetcher {
    /// The broker that a partition is fetched from.
    pub(super) fn leader(&self, partition: i32) -> Option<i32> {
        self.0.state().partitions.get(&partition)?.leader.map(|leader| leader.broker)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.0.state().ending = true;
        self.0.changed.notify_all();
    }
}

/// The other end of a partition: what was fetched of it.
pub(in super::super) struct Feed {
    shared: Arc<Shared>,
    partition: i32,
    /// The turn in which it was taken.
    first: u64,
}

/// What waits for a lane.
pub(super) enum Found {
    /// Batches.
    Chunk(Chunk),
    /// The offset that comes next is not in the topic.
    Gone,
}

impl Feed {
    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// What comes next, and the turn that it is of; none: nothing within the time.
    pub(super) fn next(&self, wait: Duration) -> (u64, Option<Found>) {
        let deadline = Instant::now() + wait;
        let mut state = self.shared.state();
        loop {
            let Some(partition) = self.of(&mut state) else { return (self.first, None) };
            let turn = partition.turn;
            if let Some(found) = partition.waiting.pop_front() {
                let full = partition.bytes >= self.shared.limits.ahead;
                if let Found::Chunk(chunk) = &found {
                    partition.bytes = partition.bytes.saturating_sub(chunk.size());
                }
                if full {
                    self.shared.changed.notify_all();
                }
                return (turn, Some(found));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return (turn, None);
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The turn that it is in.
    pub(super) fn turn(&self) -> u64 {
        self.of(&mut self.shared.state()).map_or(self.first, |partition| partition.turn)
    }

    /// What was fetched could not be read: nothing more is fetched for a moment.
    pub(super) fn rest(&self) {
        if let Some(partition) = self.of(&mut self.shared.state()) {
            partition.rest = Some(Instant::now() + REFUSED);
        }
    }

    /// The partition, unless it was taken by another since.
    fn of<'a>(&self, state: &'a mut State) -> Option<&'a mut Partition> {
        state.partitions.get_mut(&self.partition).filter(|partition| partition.first == self.first)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if self.of(&mut state).is_some() {
            state.partitions.remove(&self.partition);
            self.shared.changed.notify_all();
        }
    }
}

/// What the threads share.
pub(super) struct Shared {
    pub(super) topic: String,
    /// Brokers to begin with.
    pub(super) bootstrap: Vec<String>,
    pub(super) security: Security,
    pub(super) limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    partitions: BTreeMap<i32, Partition>,
    pub(super) leaders: BTreeMap<i32, Leader>,
    /// Where brokers listen.
    pub(super) brokers: BTreeMap<i32, String>,
    /// Brokers that have a thread.
    served: BTreeSet<i32>,
    /// Somebody wants to know who leads.
    stale: bool,
    /// The thread that asks is there.
    led: bool,
    ending: bool,
    turns: u64,
}

impl State {
    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) broker: i32,
    pub(super) epoch: i32,
}

struct Partition {
    /// The turn in which it was taken, and the one that it is in.
    first: u64,
    turn: u64,
    /// The offset to fetch next; none: it is gone.
    next: Option<i64>,
    leader: Option<Leader>,
    waiting: VecDeque<Found>,
    bytes: usize,
    /// Not to be asked for before.
    rest: Option<Instant>,
}

impl Partition {
    fn new(from: i64, turn: u64) -> Partition {
        Partition {
            first: turn,
            turn,
            next: Some(from),
            leader: None,
            waiting: VecDeque::new(),
            bytes: 0,
            rest: None,
        }
    }
}

/// What a broker's thread is to do.
pub(super) enum Plan {
    /// Fetch these partitions, in their turns.
    Fetch(String, Vec<(Asked, u64)>),
    /// It leads none of ours any more.
    End,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to fetch from a broker.
    pub(super) fn plan(&self, broker: i32) -> Plan {
        let mut state = self.state();
        loop {
            let ours =
                |partition: &&Partition| partition.leader.is_some_and(|leader| leader.broker == broker);
            if state.ending || !state.partitions.values().any(|partition| ours(&partition)) {
                state.served.remove(&broker);
                return Plan::End;
            }
            let (now, mut asked, mut until) = (Instant::now(), Vec::new(), None::<Instant>);
            for (number, partition) in &state.partitions {
                let (Some(leader), Some(offset)) =
                    (partition.leader.filter(|_| ours(&partition)), partition.next)
                else {
                    continue;
                };
                if let Some(rest) = partition.rest.filter(|rest| *rest > now) {
                    until = Some(until.map_or(rest, |until| until.min(rest)));
                } else if partition.bytes < self.limits.ahead {
                    let most = (self.limits.ahead - partition.bytes).max(LEAST).min(self.limits.partition);
                    let epoch = leader.epoch;
                    asked.push((Asked { partition: *number, offset, epoch, most }, partition.turn));
                }
            }
            if !asked.is_empty() {
                return Plan::Fetch(state.brokers.get(&broker).cloned().unwrap_or_default(), asked);
            }
            let wait = until.map_or(Duration::from_secs(60), |until| until.saturating_duration_since(now));
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes what a broker answered of a partition that was asked for in some turn. An error: it refused, and why.
    pub(super) fn answered(&self, answered: Answered, (asked, turn): (Asked, u64)) -> Result<(), String> {
        let number = answered.partition;
        let mut state = self.state();
        // Taken back, or asked of another broker meanwhile, who was faster.
        let same =
            |partition: &&mut Partition| partition.turn == turn && partition.next == Some(asked.offset);
        let Some(partition) = state.partitions.get_mut(&number).filter(same) else { return Ok(()) };
        let now = Instant::now();
        let mut refused = None;
        match answered.error {
            0 if answered.records.is_empty() => return Ok(()),
            0 => match Chunk::new(answered.records, answered.aborted) {
                Some(chunk) if chunk.next() > asked.offset => {
                    partition.next = Some(chunk.next());
                    partition.bytes += chunk.size();
                    partition.waiting.push_back(Found::Chunk(chunk));
                }
                _ => refused = Some("it sent no whole batch".to_owned()),
            },
            OFFSET_OUT_OF_RANGE => {
                partition.next = None;
                partition.waiting.push_back(Found::Gone);
            }
            code if ELSEWHERE.contains(&code) => {
                tracing::debug!(partition = number, "kafka: {}", super::named(code));
                partition.rest = Some(now + REST);
                state.stale = true;
            }
            code => refused = Some(super::named(code)),
        }
        if let (Some(_), Some(partition)) = (&refused, state.partitions.get_mut(&number)) {
            partition.rest = Some(now + REFUSED);
            state.stale = true;
        }
        self.changed.notify_all();
        refused.map_or(Ok(()), Err)
    }

    /// A broker could not be asked: another may lead by now.
    pub(super) fn unreachable(&self) {
        self.state().stale = true;
        self.changed.notify_all();
    }

    /// Waits for so long, or until the end.
    pub(super) fn pause(&self, time: Duration) {
        let state = self.state();
        drop(self.changed.wait_timeout_while(state, time, |state| !state.ending));
    }

    /// Waits until somebody wants to know who leads. False: the end.
    pub(super) fn wanted(&self) -> bool {
        let state = self.state();
        let idle = |state: &mut State| !state.stale && !state.ending;
        let mut state = self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
        state.stale = false;
        !state.ending
    }

    /// Learns who leads, and has those brokers fetched from. False: of some partition nobody knows it.
    pub(super) fn lead(
        self: &Arc<Self>,
        brokers: BTreeMap<i32, String>,
        leaders: BTreeMap<i32, Leader>,
    ) -> Result<bool> {
        let mut state = self.state();
        (state.brokers, state.leaders) = (brokers, leaders);
        let State { partitions, leaders, .. } = &mut *state;
        let (mut all, mut wanted) = (true, BTreeSet::new());
        for (number, partition) in partitions {
            partition.leader = leaders.get(number).copied();
            all &= partition.leader.is_some();
            wanted.extend(partition.leader.map(|leader| leader.broker));
        }
        for broker in wanted {
            if state.served.insert(broker) {
                let shared = self.clone();
                spawn(&format!("kafka-{broker}"), move || broker::run(&shared, broker))?;
            }
        }
        self.changed.notify_all();
        Ok(all)
    }
}

/// Where a broker to begin with listens, as librdkafka takes it: `[protocol://]host[:port]`.
pub(super) fn address(broker: &str) -> String {
    let broker = broker.trim();
    let place = broker.split_once("://").map_or(broker, |(_, place)| place);
    let has_port = place.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
    if has_port { place.to_owned() } else { format!("{place}:{PORT}") }
}

/// Kafka's codes: the offset is before the first or behind the last one of the partition.
const OFFSET_OUT_OF_RANGE: i16 = 1;
/// … and those that say that another broker is to be asked, or later: not known here (3), no leader (5), not the leader
/// (6), no replica (9), no network (13), trouble with the disk (56), another epoch (74, 75), not caught up (78).
const ELSEWHERE: [i16; 9] = [3, 5, 6, 9, 13, 56, 74, 75, 78];

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = thread::Builder::new().name(name.into()).spawn(work);
    spawned.map(drop).map_err(|e| Error::stop(format!("cannot start the thread {name}: {e}")))
}

//! What the threads of a fetcher share: where each partition goes on, which broker leads it, and what waits for its lane.
//!
//! A thread asks which brokers lead (`cluster.rs`), one thread for each of them fetches (`broker.rs`), lanes take what
//! came (`fetcher.rs`). All meet here, under one lock that is never held while anybody waits for a broker.
//!
//! A partition that is taken back to an offset, or taken anew, gets another *turn*: what was asked for in an earlier one
//! is thrown away when it comes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::broker;
use super::fetch::{Answered, Asked};
use super::limits::Limits;
use super::records::Chunk;
use super::security::Security;
use crate::{Error, Result};

/// A partition that a broker has no answer for is left alone for so long.
pub(super) const REST: Duration = Duration::from_millis(100);
/// … and one that it refuses.
pub(super) const REFUSED: Duration = Duration::from_millis(500);
/// The least that is asked for: a batch comes whole, however little room there is. It grows for who has larger ones.
const LEAST: usize = 64 << 10;
const LARGEST: usize = 128 << 20;
/// Who leads is asked this often at the least.
const LOOK: Duration = Duration::from_secs(300);
/// Kafka's codes: the offset is before the first or behind the last one of the partition.
const OFFSET_OUT_OF_RANGE: i16 = 1;
/// … and those that say that another broker is to be asked, or later: not known here (3), no leader (5), not the leader
/// (6), no replica (9), no network (13), trouble with the disk (56), another epoch (74, 75), not caught up (78).
const ELSEWHERE: [i16; 9] = [3, 5, 6, 9, 13, 56, 74, 75, 78];

/// What the threads share.
pub(super) struct Shared {
    pub(super) topic: String,
    /// Brokers to begin with.
    pub(super) bootstrap: Vec<String>,
    pub(super) security: Security,
    pub(super) limits: Limits,
    pub(super) state: Mutex<State>,
    pub(super) changed: Condvar,
}

/// What may change.
#[derive(Default)]
pub(super) struct State {
    pub(super) partitions: BTreeMap<i32, Partition>,
    pub(super) leaders: BTreeMap<i32, Leader>,
    /// The topic's id, where brokers tell it.
    pub(super) topic: Option<Uuid>,
    /// Where brokers listen.
    pub(super) brokers: BTreeMap<i32, String>,
    /// Brokers that have a thread.
    pub(super) served: BTreeSet<i32>,
    /// Somebody wants to know who leads.
    pub(super) stale: bool,
    /// The thread that asks is there.
    pub(super) led: bool,
    pub(super) ending: bool,
    pub(super) turns: u64,
}

impl State {
    pub(super) fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }
}

/// What a broker says of the others.
pub(super) struct Seen {
    /// The topic's id; nil: it has none.
    pub(super) topic: Uuid,
    pub(super) brokers: BTreeMap<i32, String>,
    pub(super) leaders: BTreeMap<i32, Leader>,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) broker: i32,
    pub(super) epoch: i32,
}

/// A partition of ours.
pub(super) struct Partition {
    /// The turn in which it was taken, and the one that it is in.
    pub(super) first: u64,
    pub(super) turn: u64,
    /// The offset to fetch next; none: it is gone.
    pub(super) next: Option<i64>,
    pub(super) leader: Option<Leader>,
    pub(super) waiting: VecDeque<Found>,
    pub(super) bytes: usize,
    /// Not to be asked for before.
    pub(super) rest: Option<Instant>,
    /// Bytes to ask for, at the least.
    pub(super) least: usize,
}

impl Partition {
    pub(super) fn new(from: i64, turn: u64) -> Partition {
        Partition {
            first: turn,
            turn,
            next: Some(from),
            leader: None,
            waiting: VecDeque::new(),
            bytes: 0,
            rest: None,
            least: LEAST,
        }
    }

    /// The offset that comes next is not there.
    fn gone(&mut self) {
        self.next = None;
        self.waiting.push_back(Found::Gone);
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
                    let most = (self.limits.ahead - partition.bytes).min(self.limits.partition);
                    let most = most.max(partition.least);
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
        let Answered { partition: number, error, aborted, records } = answered;
        let (empty, chunk) = (records.is_empty(), Chunk::new(records, aborted));
        let mut state = self.state();
        // Taken back, or asked of another broker meanwhile, who was faster.
        let same =
            |partition: &&mut Partition| partition.turn == turn && partition.next == Some(asked.offset);
        let Some(partition) = state.partitions.get_mut(&number).filter(same) else { return Ok(()) };
        let rest = |time| Some(Instant::now() + time);
        match (error, chunk) {
            (0, Some(chunk)) if chunk.next() > asked.offset => {
                (partition.next, partition.least) = (Some(chunk.next()), LEAST);
                partition.bytes += chunk.size();
                partition.waiting.push_back(Found::Chunk(chunk));
            }
            (0, _) if empty => return Ok(()),
            (0, _) => {
                // The first batch comes whole, however large it is; not by way of everything that speaks the protocol.
                partition.least = partition.least.max(asked.most).saturating_mul(2).min(LARGEST);
                partition.rest = rest(REFUSED);
                return Err(format!("it sent no whole batch within {} bytes", asked.most));
            }
            (OFFSET_OUT_OF_RANGE, _) => partition.gone(),
            (code, _) if ELSEWHERE.contains(&code) => {
                tracing::debug!(partition = number, "kafka: {}", super::named(code));
                partition.rest = rest(REST);
                state.stale = true;
            }
            (code, _) => {
                partition.rest = rest(REFUSED);
                return Err(super::named(code));
            }
        }
        self.changed.notify_all();
        Ok(())
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

    /// Waits until somebody wants to know who leads, or it was not asked for a while: a broker that nobody else sees may
    /// go on believing that it leads. None: the end. Otherwise whether it had to wait.
    pub(super) fn wanted(&self) -> Option<bool> {
        let state = self.state();
        let waited = !state.stale;
        let idle = |state: &mut State| !state.stale && !state.ending;
        let woken =
            self.changed.wait_timeout_while(state, LOOK, idle).unwrap_or_else(PoisonError::into_inner);
        let mut state = woken.0;
        state.stale = false;
        (!state.ending).then_some(waited)
    }

    /// Learns who leads, and has those brokers fetched from. False: of some partition nobody knows it.
    pub(super) fn lead(self: &Arc<Self>, seen: Seen) -> Result<bool> {
        let mut state = self.state();
        let anew = !seen.topic.is_nil() && state.topic.is_some_and(|known| known != seen.topic);
        let mut leaders = seen.leaders;
        // Where it listens is not known: the next answer may say it.
        leaders.retain(|_, leader| seen.brokers.contains_key(&leader.broker));
        if anew {
            tracing::warn!("topic {} was deleted and created anew", self.topic);
            state.partitions.values_mut().for_each(Partition::gone);
        } else {
            // Whoever was cut off from the others may tell of a leader of long ago.
            for (number, known) in &state.leaders {
                if let Some(leader) = leaders.get_mut(number).filter(|leader| leader.epoch < known.epoch) {
                    *leader = *known;
                }
            }
        }
        if !seen.topic.is_nil() {
            state.topic = Some(seen.topic);
        }
        state.brokers.extend(seen.brokers);
        state.leaders = leaders;
        let State { partitions, leaders, .. } = &mut *state;
        let (mut all, mut wanted) = (true, BTreeSet::new());
        for (number, partition) in partitions {
            partition.leader = leaders.get(number).copied();
            all &= partition.leader.is_some();
            wanted.extend(partition.leader.map(|leader| leader.broker));
        }
        let mut started = Ok(());
        for broker in wanted {
            if state.served.insert(broker) {
                let shared = self.clone();
                let spawned = spawn(&format!("kafka-{broker}"), move || broker::run(&shared, broker));
                if spawned.is_err() {
                    state.served.remove(&broker);
                    started = spawned;
                }
            }
        }
        self.changed.notify_all();
        started.map(|()| all)
    }
}

/// What waits for a lane.
pub(super) enum Found {
    /// Batches.
    Chunk(Chunk),
    /// The offset that comes next is not in the topic.
    Gone,
}

/// Starts a thread.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = thread::Builder::new().name(name.into()).spawn(work);
    spawned.map(drop).map_err(|e| Error::stop(format!("cannot start the thread {name}: {e}")))
}

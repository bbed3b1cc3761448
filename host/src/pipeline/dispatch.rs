//! Between the group's thread, the lanes and the committer: partitions that come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot};

use super::lane::Command;
use crate::commit::{Base, Ends, Lanes, Offsets, Order, Request, Taken};
use crate::observe::Stats;
use crate::shard::Shard;
use crate::source::{self, Group, Owner};
use crate::{Error, Result};

/// The command channels of a shard's lanes.
pub(super) struct Doors {
    lanes: Vec<Sender<Command>>,
    /// Partitions from one of the shard's to its next.
    stride: usize,
}

impl Doors {
    /// The lanes of a shard.
    pub(super) fn new(lanes: Vec<Sender<Command>>, shard: Shard) -> Doors {
        Doors { lanes, stride: usize::try_from(shard.logs()).unwrap_or(1).max(1) }
    }

    /// The lane of a partition.
    pub(super) fn of(&self, partition: i32) -> usize {
        usize::try_from(partition).unwrap_or_default() / self.stride % self.lanes.len().max(1)
    }

    pub(super) fn send(&self, lane: usize, command: Command) {
        // A lane that is gone has said why through the other channel.
        let _ = self.lanes[lane].send(command);
    }
}

impl Lanes for Doors {
    fn count(&self) -> usize {
        self.lanes.len()
    }
    fn order(&self, lane: usize, order: Order) {
        self.send(lane, Command::Order(order));
    }
}

impl Offsets for Group {
    fn commit(&self, offsets: &[(i32, i64)]) -> Result<()> {
        Group::commit(self, offsets)
    }
    fn topic_id(&self) -> Result<String> {
        Group::topic_id(self)
    }
    fn ends(&self) -> Result<Ends> {
        Group::ends(self)
    }
}

/// The way to what runs a shard.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) lanes: Arc<Doors>,
    pub(super) requests: mpsc::Sender<Request>,
}

/// Gives partitions to the lanes of their shards, and has the committers commit before they go.
pub(super) struct Dispatch {
    /// By the shards' numbers.
    pub(super) doors: Vec<Door>,
    pub(super) stats: Arc<Stats>,
    /// Set when the group's thread is to leave.
    pub(super) leave: Arc<AtomicBool>,
    /// Where partitions stand that are about to be ours.
    pub(super) bases: BTreeMap<i32, Base>,
}

/// How long a partition that goes may wait for its last commit. After that it goes without: what was done for it
/// since is read again by whoever gets it.
const RELEASE: Duration = Duration::from_secs(10);
/// How often a wait looks whether the host is ending.
const LOOK: Duration = Duration::from_millis(20);

impl Dispatch {
    /// The door of a partition's shard.
    fn door(&self, partition: i32) -> &Door {
        let shards = u32::try_from(self.doors.len()).unwrap_or(u32::MAX);
        &self.doors[usize::try_from(Shard::number_of(partition, shards)).unwrap_or_default()]
    }

    /// Partitions, each with those of its shard.
    fn by_shard(&self, partitions: &[i32]) -> Vec<(&Door, Vec<i32>)> {
        let shards = u32::try_from(self.doors.len()).unwrap_or(u32::MAX);
        let of = |(door, shard): (_, Shard)| {
            let ours: Vec<i32> = partitions.iter().copied().filter(|p| shard.has(*p)).collect();
            (door, ours)
        };
        let all = self.doors.iter().zip(Shard::all(shards)).map(of);
        all.filter(|(_, ours)| !ours.is_empty()).collect()
    }

    /// The committer is gone, so the host is ending: whoever ends it says so soon, and has the reason. What is
    /// returned here is heard only if nobody does.
    fn ending(&self) -> Error {
        let deadline = Instant::now() + RELEASE;
        while !self.leave.load(Ordering::SeqCst) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        Error::stop("the host is ending")
    }
}

impl Owner for Dispatch {
    fn begins(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, i64>> {
        let mut asked = Vec::new();
        for (door, partitions) in self.by_shard(partitions) {
            let (bases, told) = oneshot::channel();
            if door.requests.blocking_send(Request::Take(Taken { partitions, bases })).is_err() {
                return Err(self.ending());
            }
            asked.push(told);
        }
        let mut bases = Vec::new();
        for told in asked {
            let Ok(of_shard) = told.blocking_recv() else { return Err(self.ending()) };
            bases.extend(of_shard?);
        }
        let begins = bases.iter().map(|base| (base.partition, base.at)).collect();
        self.bases.extend(bases.into_iter().map(|base| (base.partition, base)));
        Ok(begins)
    }

    fn taken(&mut self, partitions: Vec<source::Taken>) -> Result<()> {
        self.stats.partitions(partitions.len(), 0);
        for taken in partitions {
            let base = self.bases.remove(&taken.partition);
            let base =
                base.ok_or_else(|| Error::stop("a partition came that nobody asked for; this is a bug"))?;
            let lanes = &self.door(taken.partition).lanes;
            lanes.send(lanes.of(taken.partition), Command::Take(taken, base));
        }
        Ok(())
    }

    fn released(&mut self, partitions: &[i32], lost: bool) {
        self.stats.partitions(0, partitions.len());
        let mut asked = Vec::new();
        for (door, partitions) in self.by_shard(partitions) {
            let (done, told) = oneshot::channel();
            let request = Request::Release { partitions: partitions.clone(), lost, done };
            // If the committer is gone the host is ending, and there is nobody to wait for.
            if door.requests.blocking_send(request).is_ok() {
                asked.push((door, partitions, told));
            }
        }
        // All shards at the same time: the deadline is that of all.
        let deadline = Instant::now() + RELEASE;
        for (door, partitions, mut told) in asked {
            while let Err(oneshot::error::TryRecvError::Empty) = told.try_recv() {
                if Instant::now() > deadline {
                    tracing::warn!(
                        ?partitions,
                        "their last commit did not end within {RELEASE:?}; what was not committed is read again by their new owner"
                    );
                    for lane in 0..door.lanes.count() {
                        door.lanes.order(lane, Order::Lose(partitions.clone()));
                    }
                    break;
                }
                std::thread::sleep(LOOK);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispatch(logs: u32, lanes: usize) -> Dispatch {
        let door = |shard| {
            let lanes = (0..lanes).map(|_| crossbeam_channel::unbounded().0).collect();
            Door { lanes: Arc::new(Doors::new(lanes, shard)), requests: mpsc::channel(1).0 }
        };
        Dispatch {
            doors: Shard::all(logs).map(door).collect(),
            stats: Arc::default(),
            leave: Arc::default(),
            bases: BTreeMap::new(),
        }
    }

    #[test]
    fn partitions_of_a_shard_are_spread_over_its_lanes() {
        let lanes =
            |dispatch: &Dispatch| (0..8).map(|p| dispatch.door(p).lanes.of(p)).collect::<Vec<usize>>();
        assert_eq!(lanes(&dispatch(1, 3)), [0, 1, 2, 0, 1, 2, 0, 1], "as it was before there were shards");
        assert_eq!(lanes(&dispatch(2, 2)), [0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(lanes(&dispatch(8, 1)), [0; 8]);
    }

    #[test]
    fn each_shard_hears_of_its_own() {
        let all = dispatch(3, 1);
        let found: Vec<Vec<i32>> = all.by_shard(&[0, 1, 3, 4, 7]).into_iter().map(|(_, p)| p).collect();
        assert_eq!(found, [vec![0, 3], vec![1, 4, 7]]);
    }
}

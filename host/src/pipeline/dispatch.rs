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
use crate::source::{self, Group, Owner};
use crate::{Error, Result};

/// The lanes' command channels.
pub(super) struct Doors(pub(super) Vec<Sender<Command>>);

impl Doors {
    /// The lane of a partition.
    pub(super) fn of(&self, partition: i32) -> usize {
        usize::try_from(partition).unwrap_or_default() % self.0.len().max(1)
    }

    pub(super) fn send(&self, lane: usize, command: Command) {
        // A lane that is gone has said why through the other channel.
        let _ = self.0[lane].send(command);
    }
}

impl Lanes for Doors {
    fn count(&self) -> usize {
        self.0.len()
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

/// Gives partitions to lanes and has the committer commit before they go.
pub(super) struct Dispatch {
    pub(super) lanes: Arc<Doors>,
    pub(super) requests: mpsc::Sender<Request>,
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
        let (bases, told) = oneshot::channel();
        let taken = Taken { partitions: partitions.to_vec(), bases };
        if self.requests.blocking_send(Request::Take(taken)).is_err() {
            return Err(self.ending());
        }
        let Ok(bases) = told.blocking_recv() else { return Err(self.ending()) };
        let bases = bases?;
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
            let lane = self.lanes.of(taken.partition);
            self.lanes.send(lane, Command::Take(taken, base));
        }
        Ok(())
    }

    fn released(&mut self, partitions: &[i32], lost: bool) {
        self.stats.partitions(0, partitions.len());
        let (done, mut told) = oneshot::channel();
        let request = Request::Release { partitions: partitions.to_vec(), lost, done };
        // If the committer is gone the host is ending, and there is nobody to wait for.
        if self.requests.blocking_send(request).is_err() {
            return;
        }
        let deadline = Instant::now() + RELEASE;
        while let Err(oneshot::error::TryRecvError::Empty) = told.try_recv() {
            if Instant::now() > deadline {
                tracing::warn!(
                    ?partitions,
                    "their last commit did not end within {RELEASE:?}; what was not committed is read again by their new owner"
                );
                for lane in 0..self.lanes.count() {
                    self.lanes.order(lane, Order::Lose(partitions.to_vec()));
                }
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

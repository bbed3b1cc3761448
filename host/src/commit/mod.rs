//! Makes epochs true, exactly once: the commit log, and what is made visible by it.
//!
//! An **epoch** is everything a lane did between two commits. At a *barrier* each lane finishes its
//! epoch and sends it up as a [`Part`]; the [`Committer`] makes the parts true in one [`Record`] and answers each
//! with a [`Verdict`]. Meanwhile the lanes fill the next epoch; no second barrier comes before the verdict, so
//! at most one epoch is under way behind the one that is filled.
//!
//! There is one way back, [`Verdict::Abandon`]: the lane drops what came since its last commit, restores
//! its instances and seeks. Its unit is a lane, so trouble of one does not hold up the others.
//!
//! The contract is `COMMIT.md`; where its rules live:
//!
//! | file | rules |
//! | --- | --- |
//! | [`record`] | the format of a record, and its version |
//! | [`position`] | what a log says: a pure fold, and the checks against it (L3, M1, M3) |
//! | [`log`] | slots, the tail, and the compare-and-set (L1, L2, L4, L5; F3 at every slot) |
//! | [`summary`] | a start that costs the same after 90 days |
//! | [`epoch`] | one record for all lanes, checked a lane at a time |
//! | [`publish`] | making files visible, and repairs (F2, F6, M5) |
//! | [`take`] | taking partitions over: first positions, gaps, states (L6, F4, F7) |
//! | [`flips`] | other generations of hours, and what they leave (M2 to M6) |
//! | [`replay`] | rejected rows that go through the transforms once more (M2, M3) |
//! | [`backfill`], [`covered`] | history that did not come through the stream (M8) |
//! | [`cleanup`] | what never became true is removed (M1, M2) |
//! | [`owner`] | a pipeline's tables are its own (L6, L7) |
//! | [`registrar`] | the catalog (F5, M6) |
//! | [`transforms`] | the transforms that hosts follow, and their bytes |
//!
//! `simulation` (in tests) runs all of it over a store that fails, with hosts that die and come back from the dead,
//! and switches the rules off one at a time to see that each is needed. `contention` (in tests) runs it over a store
//! that takes as long as S3, to see how many hosts one log carries.

mod after;
mod backfill;
mod cleanup;
#[cfg(test)]
mod commence_tests;
mod committer;
#[cfg(test)]
mod contention;
mod covered;
mod epoch;
mod flips;
mod laps;
mod log;
pub mod owner;
mod pauses;
mod position;
#[cfg(test)]
mod power;
mod publish;
pub mod record;
mod registrar;
mod replay;
mod rules;
#[cfg(test)]
mod simulation;
mod stage;
mod store;
mod summary;
mod take;
mod transforms;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::Result;
use crate::batch::{Counts, Identity, Span, Vitals};
use crate::env::Micros;
use crate::error::Error;
use crate::sink::PendingFile;

pub use backfill::{Filled, LaneMemory};
pub use committer::{Committer, Request, Setup, Taken};
pub use covered::{Chain, Cover, Covered, Held};
pub use epoch::{LanePart, Outcome};
pub use flips::{Deed, Flipped, Rewritten};
pub use log::Log;
pub use position::{PartitionKey, View};
pub use publish::{CannotRemake, Remade, Remake};
pub use record::{Record, Topic};
pub(crate) use registrar::Registrar;
pub use replay::Portion;
pub use store::{Published, Store};
pub use summary::EVERY;
pub use take::{Base, Ends, Memory, Policy};

/// The first pause after a store did not answer; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a lane did in one epoch: ready to be made true.
pub struct Part {
    /// The lane.
    pub lane: usize,
    /// The epoch's id, which is in the names of its files.
    pub epoch: String,
    /// How far each partition goes.
    pub partitions: Vec<Progress>,
    /// Its files, invisible, perhaps still on their way to the store.
    pub files: Vec<PendingFile>,
    /// Rejected events by reason.
    pub rejects: BTreeMap<String, u64>,
}

/// How far an epoch takes one partition.
pub struct Progress {
    /// The offsets that it accounts for.
    pub span: Span,
    /// The record that the epoch builds on.
    pub prev: Option<u64>,
    /// The record with the set of transforms that was at work.
    pub set: Option<u64>,
    /// Events that could not be decoded.
    pub undecoded: u64,
    /// The newest Kafka timestamp up to its end.
    pub newest: Option<Micros>,
    /// What became of the rows, by transform.
    pub works: Vec<TransformWork>,
}

/// What a transform did in one partition, and what it remembers.
pub struct TransformWork {
    /// The transform.
    pub identity: Arc<Identity>,
    /// The transform whose output it reads; none: the topic.
    pub reads: Option<String>,
    /// The tables that it makes.
    pub tables: Vec<String>,
    /// What became of its rows.
    pub counts: Counts,
    /// How long it was at work, on its lane's processor.
    pub busy: Duration,
    /// Its state, if it is another than at the last commit.
    pub state: Option<Memory>,
    /// The event time that its input has reached.
    pub reached: Option<Micros>,
    /// What its flush was told.
    pub watermark: Option<Micros>,
    /// What it holds and what befell it: for those who watch the host.
    pub vitals: Vitals,
}

/// What lanes say to the committer.
pub enum Up {
    /// The answer to a barrier.
    Part(Part),
    /// The lane had to go back to its last commit by itself.
    Abandoned {
        /// The lane.
        lane: usize,
        /// Why.
        error: Error,
    },
    /// Offsets that a partition must go on from are gone from the topic.
    Gone {
        /// The partition.
        partition: i32,
    },
    /// The epoch is as large as it may get: a commit, please.
    Full,
    /// A person is needed.
    Fatal(Error),
}

/// What the committer says to a lane.
#[derive(Clone, Debug)]
pub enum Order {
    /// Finish the epoch and send it up, empty or not; then give up these partitions.
    Barrier {
        /// Partitions that go to another member of the group.
        release: Vec<i32>,
    },
    /// What became of the part that was sent up last.
    Verdict(Verdict),
    /// These partitions are gone already: drop what was done for them.
    Lose(Vec<i32>),
    /// Go on from here: the log has moved on, or offsets were skipped.
    Move(Vec<Base>),
    /// End.
    Stop,
}

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is true, by this record.
    Committed(u64),
    /// There was nothing in it.
    Empty,
    /// It came to nothing. Its partitions go on from there.
    Abandon(Vec<Base>),
}

/// The way down to the lanes.
pub trait Lanes: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// Sends an order to one of them.
    fn order(&self, lane: usize, order: Order);
}

/// What is asked of Kafka. Blocking.
pub trait Offsets: Send + Sync {
    /// Tells the group where to go on: for those who watch it, the log is the truth.
    fn commit(&self, offsets: &[(i32, i64)]) -> Result<()>;
    /// The topic's id now; empty where there are none.
    fn topic_id(&self) -> Result<String>;
    /// First and last offsets of all partitions now.
    fn ends(&self) -> Result<Ends>;
}

/// Where a run ends by itself: when all partitions are committed up to there. None: it does not.
pub type Until = Option<BTreeMap<i32, i64>>;

/// The committers of a host, which end by themselves together: until the last has got there, the others serve on, so
/// that partitions can still come and go.
#[derive(Clone, Debug)]
pub struct Together(Arc<watch::Sender<usize>>);

impl Together {
    /// So many committers.
    pub fn new(committers: usize) -> Together {
        Together(Arc::new(watch::Sender::new(committers)))
    }

    /// One more has got there. Each says so once.
    fn arrived(&self) {
        self.0.send_modify(|left| *left = left.saturating_sub(1));
    }

    /// Waits for the last. All of them end at the same moment, whenever each would look again: one that is gone cannot
    /// take partitions that the group gives to this host.
    async fn all(&self) {
        // It cannot be closed: this is its sender.
        let _ = self.0.subscribe().wait_for(|left| *left == 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Together;

    #[tokio::test]
    async fn whoever_waits_for_the_others_ends_when_the_last_arrives() {
        let together = Together::new(3);
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                together.arrived();
                let together = together.clone();
                tokio::spawn(async move { together.all().await })
            })
            .collect();
        // On one thread: each has had its turn, and nobody looks at a clock.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(waiting.iter().all(|task| !task.is_finished()), "one is missing");
        together.arrived();
        for task in waiting {
            task.await.unwrap();
        }
        together.all().await;
    }
}

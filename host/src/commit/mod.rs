//! Makes epochs true: gathers what the lanes have staged, publishes it, commits the offsets, lets the
//! lanes know, and tells the catalog.
//!
//! An **epoch** is everything a lane did between two commits. At a *barrier* each lane finishes its
//! epoch and sends it up as a [`Part`]; the [`Committer`] makes the parts true and answers each with a
//! [`Verdict`]. Meanwhile the lanes fill the next epoch; no second barrier comes before the verdict, so
//! at most one epoch is under way behind the one that is filled.
//!
//! There is one way back, [`Verdict::Abandon`]: the lane drops what came since its last commit, restores
//! its instances and seeks. Its unit is a lane, so trouble of one does not hold up the others.
//!
//! What is still missing here is the commit log (`COMMIT.md`): Kafka's committed offsets are the truth,
//! and they are committed *after* the files are visible. A crash between the two delivers those events
//! again: **at least once**. The record will be written where [`Committer`] now begins to publish.

mod committer;
mod publish;
mod until;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Result;
use crate::batch::{Counts, Identity, Span};
use crate::error::Error;
use crate::sink::PendingFile;
use crate::source::Ends;

pub use committer::{Committer, Request, Setup};

/// What a lane did in one epoch: ready to be made true.
pub struct Part {
    /// The lane.
    pub lane: usize,
    /// The epoch's id, which is in the names of its files.
    pub epoch: String,
    /// The offsets that it accounts for.
    pub spans: Vec<Span>,
    /// Its files, invisible, perhaps still on their way to the store.
    pub files: Vec<PendingFile>,
    /// What became of the rows, by transform.
    pub counts: Vec<(Arc<Identity>, Counts)>,
    /// Rejected events by reason.
    pub rejects: BTreeMap<String, u64>,
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
    /// End.
    Stop,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is true.
    Committed,
    /// It came to nothing.
    Abandon,
}

/// The way down to the lanes.
pub trait Lanes: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// Sends an order to one of them.
    fn order(&self, lane: usize, order: Order);
}

/// Where the group's offsets are kept. Blocking.
pub trait Offsets: Send + Sync {
    /// Commits where to go on.
    fn commit(&self, offsets: &[(i32, i64)]) -> Result<()>;
    /// What is committed, by whomever.
    fn committed(&self, partitions: &[i32]) -> Result<BTreeMap<i32, Option<i64>>>;
}

/// The offsets at which a run is to end, if it ends by itself.
pub type Until = Option<Ends>;

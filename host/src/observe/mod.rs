//! What the host tells about itself. For now: counters that the commands print.

mod board;
mod stats;

pub use board::{Board, PartitionStatus, Refused, Status, TransformStatus};
pub use stats::{Commit, Snapshot, Stats};

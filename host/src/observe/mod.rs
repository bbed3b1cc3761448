//! What the host tells about itself. For now: counters that the commands print.

mod stats;

pub use stats::{Commit, Snapshot, Stats};
